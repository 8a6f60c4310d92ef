"""Cells of a feature map: their means, their number, partial cells at the end."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cea.models.adapters.cells import Cells


def feature_map(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("size", [(8, 12), (7, 9), (3, 2), (1, 1)])
@pytest.mark.parametrize("side", [1, 2, 4])
def test_each_cell_is_the_mean_of_its_own_tokens(size: tuple[int, int], side: int) -> None:
    x = feature_map(*size)
    means = Cells(side).mean(x)
    assert means.shape[-2:] == tuple(-(-length // side) for length in size)
    for row in range(means.shape[-2]):
        for column in range(means.shape[-1]):
            own = x[..., row * side : (row + 1) * side, column * side : (column + 1) * side]
            torch.testing.assert_close(means[..., row, column], own.mean(dim=(2, 3)))


def test_limit_bounds_the_cells_of_a_large_map_and_leaves_a_small_one() -> None:
    limited = Cells(2, at_most=4)
    assert limited.mean(feature_map(40, 6)).shape[-2:] == (4, 3)
    x = feature_map(8, 7)
    assert torch.equal(limited.mean(x), Cells(2).mean(x))


def test_cells_of_one_token_are_the_map() -> None:
    x = feature_map(5, 6)
    assert torch.equal(Cells(1).mean(x), x)


@pytest.mark.parametrize("size", [(12, 8), (9, 10), (1, 3)])
def test_stretched_cells_stay_in_place(size: tuple[int, int]) -> None:
    """A ramp over the rows comes back as the same ramp, but for the half cells at the ends."""
    height, width = size
    ramp = torch.arange(height, dtype=torch.float64)[None, None, :, None].expand(1, 1, height, width)
    cells = Cells(4)
    whole = height // 4 * 4
    coarse = torch.arange(-(-height // 4), dtype=torch.float64)[None, None, :, None] * 4 + 1.5
    found = cells.stretched(coarse.expand(1, 1, -1, -(-width // 4)), torch.Size(size))
    assert found.shape == (1, 1, *size)
    inner = slice(2, max(2, whole - 2))
    torch.testing.assert_close(found[..., inner, :], ramp[..., inner, :])
    if whole == height:
        torch.testing.assert_close(cells.mean(ramp)[0, 0, :, 0], coarse[0, 0, :, 0])


def test_extent_is_that_of_whole_cells() -> None:
    assert Cells(4).extent(torch.Size((8, 9))) == (1.0, 12 / 9)
