"""The block of NAFNet (Chen et al., ECCV 2022, "Simple Baselines for Image Restoration"), written from the paper."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn

from cea.models.fused import nafnet as fused
from cea.models.global_context import GlobalMeans
from cea.models.layers import ChannelNorm, Pointwise


class ChannelAttention(GlobalMeans):
    """Simplified channel attention: each channel is scaled by a linear map of the image's channel means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Linear(channels, channels)

    def measure(self, *maps: Tensor) -> Tensor:
        """Channel means of one map, (B, C)."""
        (x,) = maps
        return x.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return x * self.scale(self.context(x))[:, :, None, None]


class NafnetBlock(nn.Module):
    """Gated depth-wise convolution with channel attention, then a gated two-layer perceptron, each residual.

    Args:
        channels: C.
        expansion: both halves widen to ``expansion * C`` channels before the gate halves them.

    Attributes:
        fused: the parameters, for one operator that computes the block while it trains; empty for PyTorch's operators.
    """

    fused: tuple[nn.Parameter, ...] = ()

    def __init__(self, channels: int, expansion: float) -> None:
        super().__init__()
        wide = 2 * ceil(expansion * channels / 2)
        self.norm_spatial = ChannelNorm(channels)
        self.expand = Pointwise(channels, wide)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.attention = ChannelAttention(wide // 2)
        self.project = Pointwise(wide // 2, channels)
        self.norm_channel = ChannelNorm(channels)
        self.widen = Pointwise(channels, wide)
        self.narrow = Pointwise(wide // 2, channels)
        self.scale_spatial = nn.Parameter(torch.empty(channels))
        self.scale_channel = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small residual scales: a deep stack starts close to the identity but with a gradient everywhere."""
        nn.init.constant_(self.scale_spatial, 0.3)
        nn.init.constant_(self.scale_channel, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        if self.fused and self.training and fused.takes(x) and self.fused[0].dtype == x.dtype:
            return fused.fused_block(x, self.fused, self.norm_spatial.eps)
        spatial = gate(self.depthwise(self.expand(self.norm_spatial(x))))
        x = x + self.scale_spatial[:, None, None] * self.project(self.attention(spatial))
        channel = gate(self.widen(self.norm_channel(x)))
        return x + self.scale_channel[:, None, None] * self.narrow(channel)


def fuse(network: nn.Module) -> int:
    """Let the blocks of ``network`` train as one operator each, where that is compiled; the last bits differ then.

    Parameters that are replaced afterwards, instead of changed, are not seen: call it last.

    Returns:
        How many do: those whose channels it takes, in single precision on the CPU. 0 without a compiled operator.
    """
    blocks = [module for module in network.modules() if isinstance(module, NafnetBlock)]
    for block in blocks:
        if fused.fits(block.project.out_features, block.project.in_features):
            block.fused = tuple(block.get_parameter(name) for name in fused.PARAMETERS)
    return sum(bool(block.fused) for block in blocks)


def gate(x: Tensor) -> Tensor:
    """SimpleGate: the product of the two halves of the channels."""
    left, right = x.chunk(2, dim=1)
    return left * right
