"""Averages over the cells of a feature map: what an adapter looks at where it does not need every token."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Cells(NamedTuple):
    """How a feature map is divided.

    Attributes:
        side: rows and columns of tokens in a cell. A cell of a photograph then holds as many tokens as one of a
            training patch, and its average is as noisy.
        at_most: rows and columns of cells, which grow with the image beyond that; 0 for no limit.
    """

    side: int
    at_most: int = 0

    def mean(self, x: Tensor) -> Tensor:
        """Means of the cells, (B, C, h, w), of a feature map (B, C, H, W); cells at the end may be smaller."""
        rows, columns = (-(-size // self.side) for size in x.shape[-2:])
        if self.at_most and max(rows, columns) > self.at_most:
            return F.adaptive_avg_pool2d(x, (min(rows, self.at_most), min(columns, self.at_most)))
        return x if self.side == 1 else F.avg_pool2d(x, self.side, ceil_mode=True, count_include_pad=False)

    def stretched(self, coarse: Tensor, size: torch.Size) -> Tensor:
        """Values of cells, (B, C, h, w), interpolated bilinearly to a map of ``size``; each cell stays in its place.

        A cell that the end of the map cuts off is taken as whole: off by less than half a cell, there.
        """
        large = F.interpolate(coarse, scale_factor=float(self.side), mode="bilinear", align_corners=False)
        return large[..., : size[0], : size[1]]

    def extent(self, size: torch.Size) -> tuple[float, float]:
        """Height and width of the cells over a map of ``size``, as shares of it: above 1 where its end cuts cells."""
        rows, columns = (-(-length // self.side) * self.side / length for length in size)
        return rows, columns
