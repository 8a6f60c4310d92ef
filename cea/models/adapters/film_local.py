"""Locally pooled descriptors scale and shift the channels around them: FiLM that follows an uneven degradation."""

from __future__ import annotations

import torch
from torch import Tensor

from cea.models.adapters.base import Adapter
from cea.models.adapters.cells import Cells
from cea.models.adapters.film import Modulation, modulate
from cea.models.config import ModelConfig
from cea.models.global_context import GlobalMap

EACH_TOKEN = Cells(1)


class LocalFilm(Adapter, GlobalMap):
    """FiLM with a descriptor for each cell of a grid, its scales and shifts interpolated between the cells.

    As many parameters as ``film`` of the same width; ``local_cell`` sets the cells, 1 makes each token its own.
    """

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        self.cells = Cells(config.local_cell)
        self.modulation = Modulation(channels, config.adapter_width)

    def measure(self, *maps: Tensor) -> Tensor:
        """Scales and shifts of each cell of the image, (B, 2C, h, w)."""
        (x,) = maps
        modulation: Tensor = self.modulation(self.cells.mean(x))
        return modulation

    def extent(self, shape: torch.Size) -> tuple[float, float]:
        """Its last cells may reach beyond the map."""
        return self.cells.extent(shape)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        modulation = self.modulation(x) if self.cells == EACH_TOKEN else self.context(x)
        if modulation.shape[-2:] != x.shape[-2:]:
            modulation = self.cells.stretched(modulation, x.shape[-2:])
        return modulate(x, modulation)
