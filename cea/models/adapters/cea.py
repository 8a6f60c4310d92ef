"""Continuous Expert Assembly: each token assembles its own residual from r experts that the image itself defines.

Notation of the paper's abstract: X in R^(N x C) are the tokens of a feature map, A in R^(r x C) the routing bases,
D in R^(r x C) the residual directions. A cross-attention hyper-adapter reads A and D off the image; token n then takes

    dx_n = sum_k <x_n, a_k> d_k,

a dense, signed mixture: no softmax over experts, no Top-k, no prompt, no label. The same function reads as linear
attention (queries X, keys A, values D) and as an instance's own weight, dX = X (A^T D), of rank r.

What is ours and not the paper's: a factor before the residual (``residual_scale``), and keys and values read off the
means of small cells (``key_cell``). Off by default: a constant c_k beside each affinity, <x_n, a_k> + c_k, and gain
directions G in R^(r x C), with which the experts scale as well as shift: dX = X * (S G) + S D, S in R^(N x r).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cea.models.adapters.base import Adapter
from cea.models.adapters.cells import Cells
from cea.models.config import Affinity, ModelConfig
from cea.models.global_context import GlobalMeans


class Experts(NamedTuple):
    """What the hyper-adapter makes of one image: r experts, each a base to be recognised by and a direction to move in.

    Attributes:
        routing: A, (B, r, C).
        directions: D, (B, r, C).
        constants: c, (B, r), where the affinities have a constant.
        gains: G, (B, r, C), where the experts scale, too.
    """

    routing: Tensor
    directions: Tensor
    constants: Tensor | None = None
    gains: Tensor | None = None


class HyperAdapter(GlobalMeans):
    """r learned rank queries attend to the feature map; two linear heads read A and D off the resulting tokens.

    The query stays in the sum, ``LN(q + attn(q, X))``: without it the r tokens come out alike, and with them all
    experts (effective rank 1). The head of D starts at zero, so the adapter starts as the identity.

    Args:
        channels: C of the feature map.
        rank: r.
        width: d, the channels of queries, keys and values.
        cells: keys and values are read off the means of these.
        constant: also read c off the tokens.
        gain: also read G off the tokens.
    """

    def __init__(
        self, channels: int, *, rank: int, width: int, cells: Cells, constant: bool = False, gain: bool = False
    ) -> None:
        super().__init__()
        self.cells = cells
        self.queries = nn.Parameter(torch.empty(rank, width))
        self.norm_features = nn.LayerNorm(channels)
        self.to_keys_values = nn.Linear(channels, 2 * width)
        self.norm_tokens = nn.LayerNorm(width)
        self.to_routing = nn.Linear(width, channels)
        self.to_directions = nn.Linear(width, channels)
        self.to_constants = nn.Linear(width, 1) if constant else None
        self.to_gains = nn.Linear(width, channels) if gain else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Orthogonal-like queries of unit variance, and D = G = 0."""
        nn.init.normal_(self.queries)
        for head in (self.to_directions, self.to_gains):
            if head is not None:
                nn.init.zeros_(head.weight)
                nn.init.zeros_(head.bias)

    def forward(self, x: Tensor) -> Experts:
        """(B, C, H, W) to A and D, (B, r, C) each, and to c and G where there are any."""
        tokens = self.instance_tokens(self.context(x))
        return Experts(
            self.to_routing(tokens),
            self.to_directions(tokens),
            None if self.to_constants is None else self.to_constants(tokens)[..., 0],
            None if self.to_gains is None else self.to_gains(tokens),
        )

    def measure(self, *maps: Tensor) -> Tensor:
        """attn(q, X) of one map, (B, r, d): single-head cross-attention of the rank queries to the cells of the map."""
        (x,) = maps
        keys, values = self._keys_values(x)
        queries = self.queries.expand(x.shape[0], -1, -1)
        return F.scaled_dot_product_attention(queries, keys, values)

    def log_mass(self, *maps: Tensor) -> Tensor:
        """Logarithm of the sum that attn(q, X) is divided by, (B, r): what a part of an image counts for in it."""
        keys, _ = self._keys_values(maps[0])
        return torch.logsumexp(self.queries @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5, dim=-1)

    def _keys_values(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.to_keys_values(self.norm_features(as_tokens(self.cells.mean(x)))).chunk(2, dim=-1)

    def instance_tokens(self, attended: Tensor) -> Tensor:
        """LN(q + attn(q, X)), (B, r, d)."""
        tokens: Tensor = self.norm_tokens(self.queries + attended)
        return tokens


class ContinuousExpertAssembly(Adapter):
    """The paper's adapter: ``x + assemble(x, hyper(x))``."""

    width_key = "hyper_width"

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        self.affinity: Affinity = config.affinity
        self.residual_scale = config.residual_scale
        self.hyper = HyperAdapter(
            channels,
            rank=config.rank,
            width=config.hyper_width,
            cells=Cells(config.key_cell, config.key_grid),
            constant=config.constant,
            gain=config.gain,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        experts = self.hyper(x)
        # One pass over the map instead of two. Under autocast the fused product would round the token itself.
        if experts.gains is None and experts.directions.dtype == x.dtype:
            tokens = as_tokens(x)
            coefficients = self.coefficients(tokens, experts)
            return as_map(torch.baddbmm(tokens, coefficients, self._scaled(experts.directions)), x.shape)
        return x + self.assemble(x, experts)

    def assemble(self, x: Tensor, experts: Experts) -> Tensor:
        """dx_n = s sum_k <x_n, a_k> d_k for every token of (B, C, H, W), s the residual scale.

        Two batched matrix products, right to left, on a view of the channels-last map: the N x r coefficients are the
        only intermediate, so memory is linear in N and no C x C weight is ever formed. The scale goes to the experts,
        which are few.
        """
        tokens = as_tokens(x)
        coefficients = self.coefficients(tokens, experts)
        residual = coefficients @ self._scaled(experts.directions)
        if experts.gains is not None:
            residual = torch.addcmul(residual, tokens, coefficients @ self._scaled(experts.gains))
        return as_map(residual, x.shape)

    def coefficients(self, tokens: Tensor, experts: Experts) -> Tensor:
        """S, (B, N, r): what each expert counts for each token of (B, N, C), <x_n, a_k> (+ c_k)."""
        products = affinities(tokens, experts.routing, self.affinity)
        return products if experts.constants is None else products + experts.constants[:, None]

    def _scaled(self, experts: Tensor) -> Tensor:
        return experts if self.residual_scale == 1 else self.residual_scale * experts


def affinities(tokens: Tensor, routing: Tensor, kind: Affinity = "dot") -> Tensor:
    """<x_n, a_k>, (B, N, r), signed and dense, for tokens (B, N, C) and routing bases (B, r, C).

    ``layernorm`` compares LN(x_n); ``cosine`` compares both at unit length. Only ``dot`` is linear in the token.
    """
    if kind == "layernorm":
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
    elif kind == "cosine":
        tokens, routing = F.normalize(tokens, dim=-1), F.normalize(routing, dim=-1)
    return tokens @ routing.transpose(1, 2)


def as_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, N, C); a view where ``x`` is channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def as_map(tokens: Tensor, shape: torch.Size) -> Tensor:
    """(B, N, C) to (B, C, H, W), channels_last: the inverse view of ``as_tokens``."""
    batch, channels, height, width = shape
    return tokens.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
