"""Sizes: one word sets the numbers, explicit keys win, budgets hold with every adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from cea.config import parse
from cea.errors import ConfigError
from cea.models.adapters.registry import ADAPTERS
from cea.models.blocks.registry import BLOCKS
from cea.models.checkpoint import load_weights, save_weights
from cea.models.config import ModelConfig
from cea.models.measure.cost import cost
from cea.models.measure.matching import match
from cea.models.network import build
from cea.models.sizes import BUDGETS


@pytest.mark.parametrize("adapter", list(ADAPTERS))
@pytest.mark.parametrize("block", list(BLOCKS))
@pytest.mark.parametrize("size", list(BUDGETS))
def test_budgets_hold_with_every_adapter_at_equal_parameters(size: str, block: str, adapter: str) -> None:
    reference = parse(ModelConfig, {"size": size, "block": block}, "model")
    found = cost(match(reference.model_copy(update={"adapter": adapter}), reference))
    most_parameters, most_macs = BUDGETS[size]
    assert most_parameters / 3 < found.parameters <= most_parameters
    assert found.macs <= most_macs


def test_tiny_is_the_default_and_has_the_default_numbers() -> None:
    assert parse(ModelConfig, {"size": "tiny"}, "model") == ModelConfig()
    assert (ModelConfig().width, ModelConfig().encoder_blocks, ModelConfig().stem) == (24, (1, 1), 2)


def test_explicit_keys_win() -> None:
    config = parse(ModelConfig, {"size": "small", "width": 32, "middle_blocks": 5}, "model")
    small = ModelConfig(size="small")
    assert (config.width, config.middle_blocks) == (32, 5)
    assert config.encoder_blocks == small.encoder_blocks


def test_block_chooses_its_own_numbers() -> None:
    plain, restormer, own = (ModelConfig(size="small", block=block) for block in ("nafnet", "restormer", "my:Block"))
    assert plain.width != restormer.width
    assert own.model_copy(update={"block": "nafnet"}) == plain


def test_weights_hold_the_resolved_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights stay readable when a later version changes what a size means."""
    config = ModelConfig(size="small", width=8, encoder_blocks=(1,), decoder_blocks=(1,))
    save_weights(tmp_path / "w.safetensors", build(config), config, {})
    monkeypatch.setattr("cea.models.config.preset", lambda *_: {"middle_blocks": 64, "expansion": 9.0})
    assert load_weights(tmp_path / "w.safetensors")[0].config == config


@pytest.mark.parametrize("values", [{"size": "large"}, {"size": ["small"]}, {"size": None}, {"block": 3}])
def test_unknown_size_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"model\.(size|block)"):
        parse(ModelConfig, values, "model")


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        (["encoder"], {"encoder_0", "encoder_1"}),
        (["decoder_1", "middle"], {"decoder_1", "middle"}),
        (["encoder_0", "decoder"], {"encoder_0", "decoder_0", "decoder_1"}),
        ([], set()),
    ],
)
def test_sites_by_side_and_by_level(sites: list[str], expected: set[str]) -> None:
    network = build(parse(ModelConfig, {"width": 8, "sites": sites}, "model"))
    assert {name for name, adapter in network.backbone.adapters().items() if list(adapter.parameters())} == expected


@pytest.mark.parametrize("site", ["bottom", "middle_0", "encoder_", "encoder_2", "decoder_9"])
def test_sites_that_are_not_there(site: str) -> None:
    with pytest.raises(ConfigError, match=r"encoder_0|on the 2 levels"):
        parse(ModelConfig, {"sites": [site]}, "model")
