"""Layers that work on the channels of each pixel, written for channels_last maps.

On a channels_last map the permutations are views, so both layers are one matrix product or one normalisation over
contiguous rows. (PyTorch's 1x1 convolution leaves that layout on the CPU when one thread is used.)
"""

from __future__ import annotations

from torch import Tensor, nn


class Pointwise(nn.Linear):
    """A 1x1 convolution: the same linear map of the channels at each pixel of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
