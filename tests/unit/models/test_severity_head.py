"""The severity head: absent unless asked for, beside the gate, and seen by it where that is wanted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cea.config import parse
from cea.errors import ConfigError
from cea.models.adapters.registry import ADAPTERS
from cea.models.checkpoint import load_weights, save_weights
from cea.models.config import ModelConfig
from cea.models.measure.matching import parameters
from cea.models.network import RestorationNetwork, build

PLAIN = ModelConfig(width=8, rank=4, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
NAMES = ("noise", "haze", "rain")
HEADS = PLAIN.model_copy(update={"severity": NAMES, "error_gate": True})
GATED = HEADS.model_copy(update={"severity_gate": True})


def awake(config: ModelConfig) -> RestorationNetwork:
    network = build(config)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.1)
    return network.eval()


def image(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_without_the_key_nothing_is_different(adapter: str) -> None:
    """No parameter more, the same initial weights, the same words beside the weights."""
    plain = PLAIN.model_copy(update={"adapter": adapter})
    without, with_head = (build(config, 3).state_dict() for config in (plain, plain.model_copy(update=_UPDATE)))
    assert with_head.keys() - without.keys() == {"severity.weight", "severity.bias"}
    assert all(torch.equal(with_head[name], value) for name, value in without.items())
    assert "severity" not in plain.model_dump_json()
    assert not [name for name in without if "severity" in name]


_UPDATE = {"severity": NAMES}


def test_the_default_network_has_the_tensors_it_had() -> None:
    names = set(build(ModelConfig(error_gate=True)).state_dict())
    assert names - set(build(ModelConfig()).state_dict()) == {"log_error.weight", "log_error.bias"}


@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_every_adapter_gets_the_same_head(adapter: str) -> None:
    own = PLAIN.model_copy(update={"adapter": adapter})
    assert parameters(own.model_copy(update=_UPDATE)) - parameters(own) == 3 * (9 * 8 + 1)


@pytest.mark.parametrize("size", [(16, 24), (13, 22), (1, 1)])
def test_maps_have_a_channel_for_each_component(size: tuple[int, int]) -> None:
    judged = awake(GATED).judged(image(*size))
    rows, columns = (-(-side // 4) * 2 for side in size)  # padded to a multiple of 4, in cells of 2
    assert judged.severity_logits is not None
    assert judged.log_error is not None
    assert judged.severity_logits.shape == (1, 3, rows, columns)
    assert judged.log_error.shape == (1, 1, rows, columns)
    assert awake(PLAIN).judged(image(*size)).severity_logits is None


def test_untrained_it_expects_little_of_everything_and_the_image_stays() -> None:
    judged = build(GATED).judged(image(8, 8))
    assert judged.severity_logits is not None
    torch.testing.assert_close(judged.severity_logits.sigmoid(), torch.full((1, 3, 4, 4), 0.1))
    assert torch.equal(judged.restored, image(8, 8))


def test_the_head_alone_changes_no_pixel() -> None:
    network, plain = awake(HEADS), build(PLAIN.model_copy(update={"error_gate": True}))
    plain.load_state_dict({name: one for name, one in network.state_dict().items() if not name.startswith("severity")})
    assert torch.equal(network(image(13, 22)), plain.eval()(image(13, 22)))


def test_the_gate_weighs_severities_where_asked() -> None:
    network, blind = awake(GATED), build(HEADS).eval()
    blind.load_state_dict({name: one for name, one in network.state_dict().items() if "by_severity" not in name})
    seeing, unseeing = network.judged(image(16, 16)), blind.judged(image(16, 16))
    assert network.log_error is not None
    assert network.log_error.by_severity is not None
    assert seeing.severity_logits is not None
    weights = network.log_error.by_severity.weight.flatten()
    added = torch.einsum("k,bkhw->bhw", weights, seeing.severity_logits.sigmoid())[:, None]
    assert unseeing.log_error is not None
    torch.testing.assert_close(seeing.log_error, unseeing.log_error + added)
    assert added.abs().min() > 0
    assert not torch.equal(seeing.restored, unseeing.restored)


def test_the_restoration_teaches_no_severity() -> None:
    network = awake(GATED).train()
    network.judged(image(16, 16)).restored.square().sum().backward()
    assert network.severity is not None
    assert network.severity.weight.grad is None
    assert network.log_error is not None
    assert network.log_error.by_severity is not None
    assert network.log_error.by_severity.weight.grad is not None


def test_it_goes_through_a_file(tmp_path) -> None:
    network = awake(GATED)
    save_weights(tmp_path / "w.safetensors", network, GATED, {})
    again, _ = load_weights(tmp_path / "w.safetensors")
    assert again.config == GATED
    assert torch.equal(again.judged(image(9, 9)).severity_logits, network.judged(image(9, 9)).severity_logits)


def test_it_compiles_and_exports_whole() -> None:
    network, x = awake(GATED), image(16, 24)
    torch._dynamo.reset()
    compiled = torch.compile(network.judged, backend="eager", fullgraph=True)
    for one, other in zip(compiled(x), network.judged(x), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), network(x))
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"severity": ["haze", "haze"]}, "model.severity"),
        ({"severity": ["a/b"]}, "a letter, then letters, digits"),
        ({"severity": "haze"}, "model.severity"),
        ({"severity_gate": True, "severity": ["haze"]}, "severity_gate only where error_gate is true"),
        ({"severity_gate": True, "error_gate": True}, "severity names components"),
    ],
)
def test_a_wrong_key_is_one_line(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        parse(ModelConfig, values, "model")
    assert "\n" not in str(error.value)
