"""Locally pooled descriptors scale and shift the channels around them: FiLM that follows an uneven degradation."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from cea.models.adapters.base import Adapter
from cea.models.adapters.film import Modulation, modulate
from cea.models.config import ModelConfig


class LocalFilm(Adapter):
    """FiLM with a descriptor for each cell of a grid, its scales and shifts interpolated between the cells.

    As many parameters as ``film`` of the same width; ``key_grid`` sets the cells, 0 makes each token its own cell.
    """

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        self.grid = config.key_grid
        self.modulation = Modulation(channels, config.adapter_width)

    def describe(self, x: Tensor) -> Tensor:
        """Channel means of each cell, (B, C, h, w) with h, w at most ``key_grid``."""
        if not self.grid:
            return x
        height, width = x.shape[-2:]
        return F.adaptive_avg_pool2d(x, (min(height, self.grid), min(width, self.grid)))

    def survey(self, x: Tensor) -> Tensor:
        """Scales and shifts of each cell of the image, (B, 2C, h, w)."""
        modulation: Tensor = self.modulation(self.describe(x))
        return modulation

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        modulation = self.survey(x) if self.grid else self.modulation(x)
        if modulation.shape[-2:] != x.shape[-2:]:
            modulation = F.interpolate(modulation, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return modulate(x, modulation)
