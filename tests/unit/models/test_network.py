"""The network: any size, its contract, the same backbone whatever the adapter."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from cea.config import parse
from cea.errors import ConfigError
from cea.models.adapters.base import Adapter
from cea.models.adapters.registry import ADAPTERS
from cea.models.blocks.nafnet import ChannelAttention, NafnetBlock, gate
from cea.models.blocks.registry import BLOCKS
from cea.models.blocks.restormer import GatedFeedForward, RestormerBlock, TransposedAttention
from cea.models.config import ModelConfig
from cea.models.layers import ChannelNorm, Pointwise
from cea.models.network import RestorationNetwork, build

SMALL = ModelConfig(width=8, rank=4)


def awake(config: ModelConfig) -> RestorationNetwork:
    """A network whose every weight is random: neither its head nor its adapters are the identity."""
    network = build(config)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    return network.eval()


def random_image(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5), (8, 8), (17, 40), (33, 16)])
def test_any_size(size: tuple[int, int]) -> None:
    restored = awake(SMALL)(random_image(*size))
    assert restored.shape == (1, 3, *size)
    assert restored.isfinite().all()


@pytest.mark.parametrize("levels", [0, 1, 3])
@pytest.mark.parametrize("stem", [1, 2, 4])
def test_contract_states_the_least_size_multiple(stem: int, levels: int) -> None:
    config = ModelConfig.model_validate(
        {"width": 8, "stem": stem, "encoder_blocks": [1] * levels, "decoder_blocks": [1] * levels}
    )
    network = awake(config)
    multiple = network.size_multiple
    assert network.backbone(random_image(multiple, 2 * multiple)).shape[-2:] == (multiple, 2 * multiple)
    if multiple > 1:
        with pytest.raises(RuntimeError):
            network.backbone(random_image(multiple + multiple // 2, multiple))


def test_padding_repeats_the_edge_and_nothing_else() -> None:
    network, image = awake(SMALL), random_image(13, 22)
    by_hand = nn.functional.pad(image, (0, 2, 0, 3), mode="replicate")
    torch.testing.assert_close(network(image), network(by_hand)[..., :13, :22])


def test_untrained_network_returns_its_input() -> None:
    image = random_image(16, 24)
    assert torch.equal(build(SMALL)(image), image)


def test_images_of_a_batch_do_not_see_each_other() -> None:
    network, images = awake(SMALL), random_image(16, 16, batch=3)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]))


def test_default_size() -> None:
    count = sum(parameter.numel() for parameter in build(ModelConfig()).parameters())
    assert 0.2e6 < count < 0.35e6


def test_initial_weights_depend_on_seed_and_place_alone() -> None:
    torch.manual_seed(1)
    one = build(SMALL, seed=5).state_dict()
    state = torch.random.get_rng_state()
    two = build(SMALL, seed=5).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's stream is left alone
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = build(SMALL, seed=6).state_dict()
    assert not torch.equal(one["backbone.stem.weight"], other["backbone.stem.weight"])


def test_adapters_do_not_change_the_backbone_they_start_from() -> None:
    plain = build(ModelConfig(width=8, adapter="none")).state_dict()
    adapted = build(SMALL).state_dict()
    assert plain.keys() < adapted.keys()
    assert all(torch.equal(plain[name], adapted[name]) for name in plain)


@pytest.mark.parametrize("name", list(ADAPTERS))
def test_every_adapter_starts_as_identity_and_keeps_shape(name: str) -> None:
    config = ModelConfig(width=8, adapter=name)
    x = torch.randn(2, 8, 5, 6).contiguous(memory_format=torch.channels_last)
    adapter = ADAPTERS[name](8, config)
    assert isinstance(adapter, Adapter)
    assert torch.equal(adapter(x), x)
    assert build(config)(random_image(9, 9)).shape == (1, 3, 9, 9)


@pytest.mark.parametrize("name", list(BLOCKS))
def test_every_block_keeps_shape_and_channels_last(name: str) -> None:
    x = torch.randn(2, 8, 6, 7).contiguous(memory_format=torch.channels_last)
    y = BLOCKS[name](8, 2)(x)
    assert y.shape == x.shape
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_sites() -> None:
    network = build(ModelConfig(width=8, sites=("middle", "decoder")))
    kinds = {site: type(adapter).__name__ for site, adapter in network.backbone.adapters().items()}
    cea, none = "ContinuousExpertAssembly", "NoAdapter"
    assert kinds == {"encoder_0": none, "encoder_1": none, "middle": cea, "decoder_1": cea, "decoder_0": cea}


def test_layers_match_their_convolutional_definitions() -> None:
    x = torch.randn(2, 6, 4, 5)
    pointwise = Pointwise(6, 9)
    expected = nn.functional.conv2d(x, pointwise.weight[:, :, None, None], pointwise.bias)
    torch.testing.assert_close(pointwise(x), expected)
    centred = x - x.mean(1, keepdim=True)
    expected = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(ChannelNorm(6)(x), expected)


def test_block_parts_by_hand() -> None:
    assert gate(torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)).flatten().tolist() == [3.0, 8.0]
    attention = ChannelAttention(2)
    with torch.no_grad():
        attention.scale.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        attention.scale.bias.zero_()
    x = torch.tensor([[1.0, 3.0], [10.0, 30.0]]).reshape(1, 2, 1, 2)  # channel means 2 and 20
    assert attention(x).flatten().tolist() == [20.0, 60.0, 20.0, 60.0]


def test_block_is_two_residual_halves() -> None:
    block, x = NafnetBlock(8, 2), torch.randn(1, 8, 4, 4)
    with torch.no_grad():
        block.scale_spatial.zero_()
        block.scale_channel.zero_()
    assert torch.equal(block(x), x)


def test_channel_attention_of_restormer_is_equation_1() -> None:
    """V softmax(K Q temperature), the heads one by one, queries and keys of unit length along the pixels."""
    channels, x = 64, torch.randn(2, 64, 5, 7, generator=torch.Generator().manual_seed(0))
    attention = TransposedAttention(channels)
    with torch.no_grad():
        attention.temperature.copy_(torch.tensor([0.5, 3.0])[:, None, None])
    assert attention.heads == 2
    query, key, value = attention.depthwise(attention.to_qkv(x)).flatten(2).chunk(3, dim=1)
    heads = []
    for head in range(2):
        own = slice(32 * head, 32 * head + 32)
        q, k = F.normalize(query[:, own], dim=-1), F.normalize(key[:, own], dim=-1)
        weights = torch.softmax(q @ k.mT * attention.temperature[head], dim=2)  # over the keys
        heads.append(weights @ value[:, own])
    expected = attention.project(torch.cat(heads, dim=1).view_as(x))
    torch.testing.assert_close(attention(x), expected)


def test_feed_forward_of_restormer_is_gated_by_gelu() -> None:
    network, x = GatedFeedForward(8, 2.66), torch.randn(2, 8, 5, 7, generator=torch.Generator().manual_seed(0))
    wide = network.depthwise(network.widen(x))
    assert wide.shape[1] == 2 * 22  # ceil(2.66 * 8) in each half
    torch.testing.assert_close(network(x), network.narrow(F.gelu(wide[:, :22]) * wide[:, 22:]))


def test_block_of_restormer_is_two_residual_halves() -> None:
    block, x = RestormerBlock(8, 2.0), torch.randn(2, 8, 5, 7, generator=torch.Generator().manual_seed(0))
    middle = x + block.attention(block.norm_attention(x))
    torch.testing.assert_close(block(x), middle + block.forward_network(block.norm_forward(middle)))


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"rank": 0}, "model.rank"),
        ({"rank": "16"}, "model.rank"),
        ({"rnak": 16}, "rank"),
        ({"affinity": "euclid"}, "model.affinity"),
        ({"sites": ["bottom"]}, "model.sites"),
        ({"encoder_blocks": [1], "decoder_blocks": [1, 1]}, "one entry per level"),
        ({"encoder_blocks": [-1, 1]}, "0 to 64"),
    ],
)
def test_bad_configuration_is_named(values: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        parse(ModelConfig, values, "model")


def test_unknown_component_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cea'"):
        build(ModelConfig(adapter="ceaa"))
    with pytest.raises(ConfigError, match="nafnet"):
        build(ModelConfig(block="nafnett"))


def test_lists_from_yaml_are_accepted() -> None:
    config = parse(ModelConfig, {"sites": ["middle"], "encoder_blocks": [1], "decoder_blocks": [2]}, "model")
    assert config.decoder_blocks == (2,)
    with pytest.raises(ValidationError):
        ModelConfig(residual_scale=0)


GATED = ModelConfig(width=8, rank=4, refine=4, error_gate=True)


def test_gate_scales_the_whole_correction() -> None:
    """A network that expects no error returns its input; one that expects a great one corrects as it would without."""
    image, network = random_image(24, 40), awake(GATED)
    assert network.log_error is not None
    nn.init.zeros_(network.log_error.weight)
    open_, shut = torch.tensor([30.0]), torch.tensor([-30.0])
    plain = build(ModelConfig(width=8, rank=4, refine=4))
    plain.load_state_dict({name: value for name, value in network.state_dict().items() if "log_error" not in name})
    with torch.no_grad():
        network.log_error.bias.copy_(shut)
        assert torch.equal(network(image), image)
        network.log_error.bias.copy_(open_)
        torch.testing.assert_close(network(image), plain(image))
        network.log_error.bias.zero_()
        torch.testing.assert_close(network(image) - image, (plain(image) - image) / 2)


def test_gate_does_not_close_before_it_is_trained() -> None:
    judged = build(GATED).judged(random_image(16, 24))
    assert judged.log_error is not None
    assert judged.log_error.shape == (1, 1, 8, 12)
    assert (judged.log_error.sigmoid() > 0.9).all()


def test_refinement_sees_input_and_first_result_at_full_resolution() -> None:
    """It starts as nothing, and its correction is that of the convolutions on the six channels."""
    config = ModelConfig(width=8, rank=4, refine=4)
    image = random_image(16, 24)
    assert torch.equal(build(config)(image), image)
    network = awake(config)
    assert network.refine is not None
    first = image + network.backbone(image)
    torch.testing.assert_close(network(image), first + network.refine(torch.cat([image, first], dim=1)))
