"""Static low rank: the same correction for every image (LoRA, Hu et al., ICLR 2022, as an adapter of a feature map)."""

from __future__ import annotations

from torch import Tensor, nn

from cea.models.adapters.base import Adapter
from cea.models.config import ModelConfig
from cea.models.layers import Pointwise


class LowRank(Adapter):
    """dX = X A^T B with learned A, B in R^(h x C): CEA's assembly with experts that the image does not define."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        self.down = Pointwise(channels, config.adapter_width, bias=False)
        self.up = Pointwise(config.adapter_width, channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """B = 0."""
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        corrected: Tensor = x + self.up(self.down(x))
        return corrected
