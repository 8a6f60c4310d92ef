"""The block of Restormer (Zamir et al., CVPR 2022, "Efficient Transformer for High-Resolution Image Restoration"),
written from the paper: attention between channels instead of pixels (section 3.1), then a gated convolutional
feed-forward network (section 3.2)."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cea.models.global_context import GlobalMeans
from cea.models.layers import ChannelNorm, Pointwise

CHANNELS_PER_HEAD = 32
"""A head has at least this many channels: 48 at every level of the paper's network."""


class Moments(NamedTuple):
    """Means over the pixels.

    Attributes:
        products: of a query channel and a key channel, (B, heads, c, c).
        queries, keys: of the squares, (B, heads, c).
    """

    products: Tensor
    queries: Tensor
    keys: Tensor


class TransposedAttention(GlobalMeans):
    """Multi-head attention whose tokens are the channels: cost linear in the pixels.

    Equation 1 of the paper: V softmax(K Q temperature), with Q and K of unit length along the pixels. Here the Gram
    matrix of the raw maps is divided by their lengths, which is the same and touches only c x c numbers.

    Args:
        channels: C; the number of heads is the largest power of 2 that leaves 32 channels or more for each.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = _heads(channels)
        self.to_qkv = Pointwise(channels, 3 * channels, bias=False)
        self.depthwise = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.temperature = nn.Parameter(torch.empty(self.heads, 1, 1))
        self.project = Pointwise(channels, channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Temperature 1."""
        nn.init.ones_(self.temperature)

    def measure(self, *maps: Tensor) -> Moments:
        """Moments of the maps of queries and keys, (B, C, H, W) each."""
        query, key = maps
        queries, keys = self._split(query), self._split(key)
        root = queries.shape[-1] ** 0.5
        products = (queries / root) @ (keys / root).transpose(-2, -1)
        return Moments(products, queries.square().mean(-1), keys.square().mean(-1))

    def attention(self, moments: Moments) -> Tensor:
        """Attention weights between channels, (B, heads, c, c)."""
        lengths = moments.queries.sqrt()[..., :, None] * moments.keys.sqrt()[..., None, :]
        return torch.softmax(moments.products / lengths.clamp_min(1e-12) * self.temperature, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        query, key, value = self.depthwise(self.to_qkv(x)).chunk(3, dim=1)
        attended = self.attention(self.context(query, key)) @ self._split(value)
        return self.project(attended.reshape(x.shape).contiguous(memory_format=torch.channels_last))

    def _split(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, heads, c, N)."""
        return x.flatten(2).unflatten(1, (self.heads, -1))


class GatedFeedForward(nn.Module):
    """GELU(first half) * second half between two pointwise layers, with a depth-wise convolution before the gate.

    Args:
        channels: C.
        expansion: each half has ``expansion * C`` channels.
    """

    def __init__(self, channels: int, expansion: float) -> None:
        super().__init__()
        wide = ceil(expansion * channels)
        self.widen = Pointwise(channels, 2 * wide, bias=False)
        self.depthwise = nn.Conv2d(2 * wide, 2 * wide, 3, padding=1, groups=2 * wide, bias=False)
        self.narrow = Pointwise(wide, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        gate, value = self.depthwise(self.widen(x)).chunk(2, dim=1)
        return self.narrow(F.gelu(gate) * value)


class RestormerBlock(nn.Module):
    """Channel attention, then the gated feed-forward network, each normalised and residual.

    Args:
        channels: C.
        expansion: of the feed-forward network; 2.66 in the paper.
    """

    def __init__(self, channels: int, expansion: float) -> None:
        super().__init__()
        self.norm_attention = ChannelNorm(channels)
        self.attention = TransposedAttention(channels)
        self.norm_forward = ChannelNorm(channels)
        self.forward_network = GatedFeedForward(channels, expansion)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        x = x + self.attention(self.norm_attention(x))
        return x + self.forward_network(self.norm_forward(x))


def _heads(channels: int) -> int:
    heads = 1
    while channels % (2 * heads) == 0 and channels // (2 * heads) >= CHANNELS_PER_HEAD:
        heads *= 2
    return heads
