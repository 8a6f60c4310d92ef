"""A global descriptor of the image scales and shifts every channel (FiLM, Perez et al., AAAI 2018)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from cea.models.adapters.base import Adapter
from cea.models.config import ModelConfig
from cea.models.global_context import GlobalMeans
from cea.models.layers import ChannelNorm, Pointwise


class Modulation(nn.Module):
    """A two-layer perceptron from descriptors to a scale and a shift per channel, zero at the start.

    Args:
        channels: C.
        width: h, its hidden channels.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.hidden = Pointwise(channels, width)
        self.to_scale_shift = Pointwise(width, 2 * channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """No modulation."""
        nn.init.zeros_(self.to_scale_shift.weight)
        nn.init.zeros_(self.to_scale_shift.bias)

    def forward(self, descriptor: Tensor) -> Tensor:
        """Descriptors (B, C, h, w) to scales and shifts, (B, 2C, h, w)."""
        modulation: Tensor = self.to_scale_shift(F.gelu(self.hidden(self.norm(descriptor))))
        return modulation


class Film(Adapter, GlobalMeans):
    """x * (1 + scale) + shift, one scale and shift per channel and image, from the image's channel means."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        self.modulation = Modulation(channels, config.adapter_width)

    def measure(self, *maps: Tensor) -> Tensor:
        """Channel means of one map, (B, C, 1, 1)."""
        (x,) = maps
        return x.mean(dim=(2, 3), keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return modulate(x, self.modulation(self.context(x)))


def modulate(x: Tensor, modulation: Tensor) -> Tensor:
    """x * (1 + scale) + shift, with scale and shift stacked along the channels of ``modulation``."""
    scale, shift = modulation.chunk(2, dim=1)
    return x * (1 + scale) + shift
