"""What a network makes of an image: cell by cell, whole and in tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cea.inference import restore, restore_judged
from cea.models.config import ModelConfig
from cea.models.network import build
from tests.told import CELL, Told


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).random((height, width, 3)).astype(np.float32)


def cells(channel: np.ndarray) -> np.ndarray:
    padded = np.pad(channel, [(0, -side % CELL) for side in channel.shape], mode="edge")
    return padded.reshape(padded.shape[0] // CELL, CELL, -1, CELL).mean(axis=(1, 3))


@pytest.mark.parametrize("size", [(8, 12), (9, 13), (1, 1), (201, 333), (150, 61)])
@pytest.mark.parametrize("tile", [None, 128])
def test_maps_are_those_of_the_image(size: tuple[int, int], tile: int | None) -> None:
    """Whatever its size: the padding is cut off, and tiles are put together without a seam."""
    image = picture(*size)
    restored, estimates = restore_judged(Told(), image, tile=tile)
    assert estimates.cell == CELL
    assert list(estimates.severity) == ["haze", "rain"]
    for channel, values in enumerate([*estimates.severity.values(), estimates.error * 10]):
        np.testing.assert_allclose(values, cells(image[..., channel]), atol=1e-5)
    np.testing.assert_allclose(restored, image / 2, atol=1e-5)


def test_a_network_without_heads_estimates_nothing() -> None:
    restored, estimates = restore_judged(nn.Conv2d(3, 3, 1), picture(8, 8))
    assert restored.shape == (8, 8, 3)
    assert estimates.severity == {}
    assert estimates.error is None
    gated = restore_judged(Told(()), picture(8, 8))[1]
    assert gated.severity == {}
    assert gated.error.shape == (4, 4)
    assert restore_judged(Told(gated=False), picture(8, 8))[1].error is None


def test_a_real_network_in_tiles() -> None:
    """Its pixels are those of a plain restoration, bit for bit; its maps agree with the whole image's."""
    heads = {"error_gate": True, "severity": ("haze", "rain"), "severity_gate": True}
    network = build(ModelConfig(width=8, rank=4, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, **heads))
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    rows = np.linspace(0.2, 0.8, 300)[:, None, None]
    image = (rows * np.linspace(0.5, 1, 3) + 0.2 * picture(300, 340)).astype(np.float32)
    whole, one = restore_judged(network, image)
    tiled, other = restore_judged(network, image, tile=128)
    assert np.array_equal(whole, restore(network, image))
    assert np.array_equal(tiled, restore(network, image, tile=128))
    for name in ("haze", "rain"):
        assert one.severity[name].std() > 1e-3
        assert np.abs(one.severity[name] - other.severity[name]).mean() < 0.1 * one.severity[name].std()
    assert np.abs(one.error - other.error).mean() < 0.1 * one.error.std()
