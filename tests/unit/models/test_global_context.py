"""With its statistics fixed, a network of any registered parts is a local operator."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from cea.models.adapters.registry import ADAPTERS
from cea.models.blocks.registry import BLOCKS
from cea.models.config import ModelConfig
from cea.models.global_context import (
    Gathered,
    Inside,
    Statistics,
    Survey,
    TileWindow,
    gathered,
    merged,
    recorded,
    reused,
)
from cea.models.network import RestorationNetwork, build

EVERYWHERE = ["encoder", "middle", "decoder"]
CONFIGS = [{"adapter": name} for name in ADAPTERS]
CONFIGS += [{"adapter": "none", "block": name} for name in BLOCKS]
CONFIGS += [
    {"adapter": "cea", "key_cell": 4, "affinity": "layernorm"},
    {"adapter": "cea", "constant": True, "gain": True},
    {"adapter": "film-local", "local_cell": 1},
    {"adapter": "film-local", "local_cell": 3},
]


def network(**keys: object) -> RestorationNetwork:
    """A small network whose adapters and head do something: they start as the identity."""
    model = (
        build(ModelConfig.model_validate({"width": 8, "middle_blocks": 1, "sites": EVERYWHERE, **keys})).double().eval()
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += noise * 0.2 / max(1, parameter[0].numel()) ** 0.5
    return model


def photo(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("keys", CONFIGS, ids=lambda keys: "-".join(map(str, keys.values())))
def test_a_part_gives_the_pixels_of_the_whole(keys: dict[str, object]) -> None:
    """Where this fails for a new adapter or block: what it sees of the whole image has to come from a
    `cea.models.global_context.GlobalContext`."""
    model, image = network(**keys), photo(160, 152)
    with torch.no_grad(), recorded(model) as statistics:
        whole = model(image)
    assert (whole - image).abs().mean() > 1e-3
    window = TileWindow(32 / 160, 128 / 160, 24 / 152, 128 / 152)
    with torch.no_grad(), reused(model, statistics, window):
        part = model(image[..., 32:, 24:])
    inner = slice(64, None)
    torch.testing.assert_close(part[..., inner, inner], whole[..., 32:, 24:][..., inner, inner], atol=2e-6, rtol=0)


@pytest.mark.parametrize("keys", CONFIGS, ids=lambda keys: "-".join(map(str, keys.values())))
def test_recording_and_reusing_on_the_whole_image_change_nothing(keys: dict[str, object]) -> None:
    model, image = network(**keys), photo(40, 56)
    with torch.no_grad():
        plain = model(image)
        with recorded(model) as statistics:
            torch.testing.assert_close(model(image), plain, atol=0, rtol=0)
        with reused(model, statistics):
            torch.testing.assert_close(model(image), plain, atol=2e-6, rtol=0)
        assert torch.equal(model(image), plain)  # nothing is left behind


@pytest.mark.parametrize("keys", CONFIGS, ids=lambda keys: "-".join(map(str, keys.values())))
def test_what_an_image_measures_follows_from_its_parts(keys: dict[str, object]) -> None:
    """Two parts that overlap by 128 rows, each of which counts up to the middle; the second is the smaller one."""
    model, image = network(**keys), photo(240, 56)
    with torch.no_grad(), recorded(model) as whole:
        model(image)
    found: Gathered = {}
    first: Statistics = {}
    for start, stop, begin, end in ((0, 192, 0, 128), (64, 240, 128, 240)):
        size = stop - start
        window = TileWindow(start / 240, size / 240, 0, 1)
        inside = Inside((begin - start) / size, (end - start) / size, 0, 1)
        with torch.no_grad(), gathered(model, whole, window, inside, found):
            model(image[..., start:stop, :])
        first = first or deepcopy(merged(found))
    values = {name: value for name, value in whole.items() if not isinstance(value, Survey)}
    assert found.keys() == values.keys()
    torch.testing.assert_close(merged(found), values, atol=1e-6, rtol=1e-6)
    with pytest.raises(AssertionError):  # one part alone would not do
        torch.testing.assert_close(first, values, atol=1e-4, rtol=0)


def test_an_independent_part_differs() -> None:
    """The test above would pass for a network without statistics; this one has some."""
    model, image = network(adapter="cea", residual_scale=1), photo(160, 152)
    with torch.no_grad():
        difference = model(image[..., 32:, 24:]) - model(image)[..., 32:, 24:]
    assert difference[..., 64:, 64:].abs().max() > 1e-3


def test_an_error_leaves_the_network_as_it_was() -> None:
    model = network(adapter="cea")
    before = {name: list(vars(module)) for name, module in model.named_modules()}
    with pytest.raises(RuntimeError), recorded(model):
        model(torch.zeros(1, 4, 16, 16, dtype=torch.float64))
    assert {name: list(vars(module)) for name, module in model.named_modules()} == before
