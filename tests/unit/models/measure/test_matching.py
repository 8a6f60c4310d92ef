"""Equal parameters: every adapter reaches the reference within 1 %, by its own width and nothing else."""

from __future__ import annotations

import pytest

from cea.config import Config, parse
from cea.errors import ConfigError
from cea.models.adapters.base import NoAdapter
from cea.models.adapters.registry import ADAPTERS
from cea.models.checkpoint import load_weights, save_weights
from cea.models.config import ModelConfig, ModelSection
from cea.models.measure.matching import match, parameters, resolve
from cea.models.network import build


@pytest.mark.parametrize("adapter", list(ADAPTERS))
@pytest.mark.parametrize("values", [{}, {"block": "restormer"}, {"rank": 16, "hyper_width": 32}, {"sites": ["middle"]}])
def test_every_adapter_matches_within_one_percent(adapter: str, values: dict[str, object]) -> None:
    reference = parse(ModelConfig, values, "model")
    matched = match(reference.model_copy(update={"adapter": adapter}), reference)
    built = sum(parameter.numel() for parameter in build(matched).parameters())
    assert built == parameters(matched) == pytest.approx(parameters(reference), rel=0.01)
    changed = {key for key, value in matched if value != getattr(reference, key)}
    assert changed <= {"adapter", ADAPTERS[adapter].width_key}


def test_nearest_width_is_chosen() -> None:
    reference = ModelConfig()
    matched = match(ModelConfig(adapter="lora"), reference)
    away = abs(parameters(matched) - parameters(reference))
    for width in (matched.adapter_width - 1, matched.adapter_width + 1):
        other = matched.model_copy(update={"adapter_width": width})
        assert abs(parameters(other) - parameters(reference)) >= away


def test_matching_works_in_both_directions() -> None:
    film = ModelConfig(adapter="film", adapter_width=40)
    matched = match(ModelConfig(), film)
    assert parameters(matched) == pytest.approx(parameters(film), rel=0.01)


def test_what_cannot_be_matched_is_refused() -> None:
    with pytest.raises(ConfigError, match="at the nearest width"):
        match(ModelConfig(adapter="lora"), ModelConfig(width=8))  # the backbone alone has more
    with pytest.raises(ConfigError, match="match a smaller network"):
        match(ModelConfig(adapter="none", width=4), ModelConfig(size="base"))


def test_section_of_params_resolves_to_a_plain_config() -> None:
    section = parse(ModelSection, {"adapter": "moe", "equal_to": "cea"}, "model")
    resolved = resolve(section)
    assert type(resolved) is ModelConfig
    assert parameters(resolved) == pytest.approx(parameters(ModelConfig()), rel=0.01)


@pytest.mark.parametrize("values", [{}, {"equal_to": None}, {"equal_to": "cea"}, {"adapter": "film"}])
def test_section_without_a_rival_is_left_as_it_is(values: dict[str, object]) -> None:
    expected = {key: value for key, value in values.items() if key != "equal_to"}
    assert resolve(parse(ModelSection, values, "model")) == parse(ModelConfig, expected, "model")


def test_unknown_reference_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cea'"):
        resolve(parse(ModelSection, {"adapter": "film", "equal_to": "ceaa"}, "model"))


class OwnOptions(Config):
    depth: int = 1


class Own(NoAdapter):
    """An adapter with a key of its own."""

    Options = OwnOptions


def test_an_adapters_own_keys_are_validated_by_it_and_kept_with_the_weights(tmp_path):
    section = {"adapter": f"{__name__}:Own", "adapter_options": {"depth": 3}, "width": 8, "middle_blocks": 1}
    config = resolve(parse(ModelSection, section, "model"))
    network = build(config)
    assert {one.options.depth for name, one in network.backbone.adapters().items() if "decoder" not in name} == {3}
    save_weights(tmp_path / "a.safetensors", network, config, {})
    assert load_weights(tmp_path / "a.safetensors", trust_code=True)[0].config.adapter_options == {"depth": 3}
    with pytest.raises(ConfigError, match=r"model\.adapter_options.*depht.*depth"):
        build(config.model_copy(update={"adapter_options": {"depht": 3}}))


def test_options_belong_to_the_adapter_and_not_to_what_it_is_matched_to():
    section = {"adapter": f"{__name__}:Own", "equal_to": "film", "adapter_options": {"depth": 3}}
    config = resolve(parse(ModelSection, section, "model"))
    assert config.adapter_options == {"depth": 3}
    assert parameters(config) == pytest.approx(parameters(ModelConfig(adapter="film")), rel=0.01)
