"""Variants of CEA that were tried (docs/design-log/cea.md): adapters to name as ``benchmarks.assemblies:NAME``.

None is in the package, because none has been shown to be better. One training of one, in a clone with data:

    python -m pipeline.comparison.rates --adapters cea --factors 1 --steps 10000 --set train.patch=64 train.threads=1 \
        --variant half-raw adapter=benchmarks.assemblies:HalfRawValues equal_to=cea
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cea.models.adapters.base import Adapter
from cea.models.adapters.cea import ContinuousExpertAssembly, Experts, HyperAdapter, as_map, as_tokens
from cea.models.adapters.cells import Cells
from cea.models.config import ModelConfig


class _HalfRaw(HyperAdapter):
    """Half of the value channels see the features as they are, with their level and contrast.

    LayerNorm takes both away, and they tell haze from darkness.
    """

    def reset_parameters(self) -> None:
        """As the parent; the raw values like any linear layer."""
        super().reset_parameters()
        width, channels = self.queries.shape[1], self.norm_features.normalized_shape[0]
        if not hasattr(self, "to_raw_values"):  # called first by the parent's constructor
            self.to_keys_values = nn.Linear(channels, width + width // 2)
            self.to_raw_values = nn.Linear(channels, width - width // 2)

    def _keys_values(self, x: Tensor) -> tuple[Tensor, ...]:
        tokens = as_tokens(self.cells.mean(x))
        width = self.queries.shape[1]
        keys, values = self.to_keys_values(self.norm_features(tokens)).split([width, width // 2], dim=-1)
        return keys, torch.cat([values, self.to_raw_values(tokens)], dim=-1)


class _BranchedValues(HyperAdapter):
    """Values V + g(V) before they are aggregated; g = 1 x 1, depth-wise 3 x 3, GELU, 1 x 1, zero at the start."""

    def reset_parameters(self) -> None:
        """As the parent, and g = 0."""
        super().reset_parameters()
        width = self.queries.shape[1]
        if not hasattr(self, "branch"):
            self.branch = nn.Sequential(
                nn.Conv2d(width, width, 1),
                nn.Conv2d(width, width, 3, padding=1, groups=width),
                nn.GELU(),
                nn.Conv2d(width, width, 1),
            )
        last = self.branch[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)

    def _keys_values(self, x: Tensor) -> tuple[Tensor, ...]:
        cells = self.cells.mean(x)
        keys, values = self.to_keys_values(self.norm_features(as_tokens(cells))).chunk(2, dim=-1)
        shape = torch.Size((*values.shape[:1], values.shape[2], *cells.shape[2:]))
        return keys, values + as_tokens(self.branch(as_map(values, shape)))


class _WithHyper(ContinuousExpertAssembly):
    hyper_type: type[HyperAdapter] = HyperAdapter

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        self.hyper = self.hyper_type(
            channels,
            rank=config.rank,
            width=config.hyper_width,
            cells=self.hyper.cells,
            constant=config.constant,
            gain=config.gain,
        )


class HalfRawValues(_WithHyper):
    """(a) Half of the value channels raw."""

    hyper_type = _HalfRaw


class BranchedValues(_WithHyper):
    """(b) Values through a small non-linear branch."""

    hyper_type = _BranchedValues


class Both(_WithHyper):
    """(a) and (b)."""

    class hyper_type(_BranchedValues, _HalfRaw):  # noqa: D106, N801
        def _keys_values(self, x: Tensor) -> tuple[Tensor, ...]:
            keys, values = _HalfRaw._keys_values(self, x)
            shape = torch.Size((*values.shape[:1], values.shape[2], *self.cells.mean(x).shape[2:]))
            return keys, values + as_tokens(self.branch(as_map(values, shape)))


class ScaledAssembly(ContinuousExpertAssembly):
    """(c) x * (1 + s) + b beside the experts, s and b from the mean of the image's tokens: FiLM and CEA in one."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        self.to_scale_shift = nn.Linear(config.hyper_width, 2 * channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """No modulation."""
        nn.init.zeros_(self.to_scale_shift.weight)
        nn.init.zeros_(self.to_scale_shift.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        tokens = self.hyper.instance_tokens(self.hyper.context(x))
        experts = Experts(self.hyper.to_routing(tokens), self.hyper.to_directions(tokens))
        scale, shift = self.to_scale_shift(tokens.mean(dim=1))[..., None, None].chunk(2, dim=1)
        return x * (1 + scale) + shift + self.assemble(x, experts)


class _RankTokens(HyperAdapter):
    """The image's r tokens, without heads."""

    def reset_parameters(self) -> None:
        """Queries of unit variance."""
        nn.init.normal_(self.queries)
        self.to_routing = self.to_directions = nn.Identity()  # type: ignore[assignment]


class StaticFactors(Adapter):
    """(c) x * (1 + s) + b + P F Q x: static outer factors P, Q, a dynamic core F of rank r (Li et al., ICLR 2021)."""

    width_key = "hyper_width"

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        cells = Cells(config.key_cell, config.key_grid)
        self.hyper = _RankTokens(channels, rank=config.rank, width=config.hyper_width, cells=cells)
        self.project = nn.Linear(channels, config.rank, bias=False)
        self.expand = nn.Linear(config.rank, channels, bias=False)
        self.to_core = nn.Linear(config.hyper_width, config.rank)
        self.to_scale_shift = nn.Linear(config.hyper_width, 2 * channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """F = 0, no modulation."""
        for layer in (self.to_core, self.to_scale_shift):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        tokens = self.hyper.instance_tokens(self.hyper.context(x))
        core = self.to_core(tokens)  # (B, r, r)
        residual = self.expand(self.project(as_tokens(x)) @ core)
        scale, shift = self.to_scale_shift(tokens.mean(dim=1))[..., None, None].chunk(2, dim=1)
        return x * (1 + scale) + shift + as_map(residual, x.shape)


class NeighbourhoodAffinities(ContinuousExpertAssembly):
    """(d) Affinities of tokens that see their neighbourhood: a depth-wise 3 x 3 convolution, first the identity."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        self.around = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The identity."""
        nn.init.dirac_(self.around.weight, groups=self.around.groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        experts = self.hyper(x)
        seen = as_tokens(self.around(x))
        coefficients = self.coefficients(seen, experts)
        return x + as_map(coefficients @ self._scaled(experts.directions), x.shape)


class _Anchored(HyperAdapter):
    """The mean of the features as they are joins every rank token: level and contrast, whatever attention picks out."""

    def reset_parameters(self) -> None:
        """As the parent; the mean counts for nothing at first."""
        super().reset_parameters()
        if not hasattr(self, "to_level"):  # called first by the parent's constructor
            self.to_level = nn.Linear(self.norm_features.normalized_shape[0], self.queries.shape[1], bias=False)
        nn.init.zeros_(self.to_level.weight)

    def measure(self, *maps: Tensor) -> Tensor:
        """attn(q, X) plus a projection of the mean, (B, r, d)."""
        (x,) = maps
        return super().measure(x) + self.to_level(x.mean(dim=(2, 3)))[:, None]


class AnchoredScaled(ScaledAssembly):
    """(c) as `ScaledAssembly`, and rank tokens that know the mean of the features."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        cells = self.hyper.cells
        self.hyper = _Anchored(channels, rank=config.rank, width=config.hyper_width, cells=cells)
