"""Spatially varying blur: sum_k m_k (h_k * x), with m_k a partition of unity, in linear light.

The model of Nagy & O'Leary, "Restoring images degraded by spatially variant blur" (SIAM J. Sci. Comput. 1998), and of
the efficient filter flow of Hirsch et al. (CVPR 2010): a few kernels hold in different regions, and the point spread
function in between is interpolated. Unsharp corners, a tilted lens or a rolling camera look like this.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Annotated, ClassVar

import cv2
import numpy as np
from pydantic import Field

from cea.config import Config
from cea.degradations.contract import strength
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Share, Unit, Within, uniform
from cea.degradations.exact import psf, transfer
from cea.degradations.exact.convolution import tiles
from cea.rng import generator
from cea.types import ImageF, Map

WIDEST_PX = 6.0
"""Standard deviation along the widest kernel at severity 1."""

SHARPEST = 0.2
"""Standard deviations are drawn between this share of the widest and the widest."""

_SIGMA_PX = Within(0, 20)


class VaryingBlurRanges(Config):
    """What to draw spatially varying blur from."""

    sigma_px: Annotated[tuple[float, float], _SIGMA_PX] = (1.5, 5.0)
    """Standard deviation along the widest kernel, px."""
    roundness: Share = (0.25, 1.0)
    """Standard deviation across a kernel over the one along it."""
    kernels: int = Field(default=3, ge=2, le=6)
    """How many kernels share the image; each costs a convolution."""


class VaryingBlurParams(Params):
    """How blurred at most; widths, angles and regions follow from the node's stream."""

    sigma_px: Annotated[float, _SIGMA_PX]
    """Standard deviation along the widest kernel, px."""
    roundness: Unit
    """Standard deviation across over along."""
    kernels: int = Field(ge=2, le=6)
    """Number of kernels."""


class VaryingBlur(Degradation[VaryingBlurRanges, VaryingBlurParams]):
    """Anisotropic Gaussians, each applied in its own smooth region; a strength map fades the blur in."""

    name: ClassVar[str] = "varying_blur"
    stage: ClassVar[Stage] = "optics"

    def sample(self, rng: np.random.Generator) -> VaryingBlurParams:
        """Draw width and roundness."""
        return VaryingBlurParams(
            sigma_px=uniform(rng, self.ranges.sigma_px),
            roundness=uniform(rng, self.ranges.roundness),
            kernels=self.ranges.kernels,
        )

    def at(self, severity: float) -> VaryingBlurParams:
        """Up to ``WIDEST_PX``, half as wide across."""
        return VaryingBlurParams(sigma_px=severity * WIDEST_PX, roundness=0.5, kernels=self.ranges.kernels)

    def apply(self, image: ImageF, params: VaryingBlurParams, context: Context) -> Applied:
        """Blur; severity is the local mean standard deviation over ``WIDEST_PX``."""
        if params.sigma_px == 0.0:
            return Applied(image, strength.severity_map(image, 0.0, None))
        rng = generator(context.stream)
        kernels, widths = _kernels(rng, params)
        masks = partition(rng, image.shape[:2], params.kernels)
        blurred = _blurred(image, kernels, masks)
        width = reduce(np.add, [mask * np.float32(w / WIDEST_PX) for mask, w in zip(masks, widths, strict=True)])
        severity = strength.severity_map(image, 1.0, width if context.strength is None else width * context.strength)
        return Applied(strength.blend(image, blurred, context.strength), severity)


def _blurred(image: ImageF, kernels: list[psf.Kernel], masks: list[Map]) -> ImageF:
    """sum_k m_k (h_k * image), summed in linear light."""
    blurred = np.empty((image.shape[2], *image.shape[:2]), np.float32).transpose(1, 2, 0)
    for tile in tiles(transfer.linear_codes(image), kernels):
        window = tile.rows, tile.columns
        parts = [mask[window][..., None] * tile.through(index) for index, mask in enumerate(masks)]
        blurred[window] = transfer.encoded_codes((np.float32(0.5) + reduce(np.add, parts)).astype(np.uint16))
    return blurred


def _kernels(rng: np.random.Generator, params: VaryingBlurParams) -> tuple[list[psf.Kernel], list[float]]:
    """The kernels and their geometric mean standard deviations; the first one is the widest."""
    draws = rng.random((params.kernels, 2))
    longs = [params.sigma_px * (1.0 if k == 0 else SHARPEST + (1 - SHARPEST) * d[0]) for k, d in enumerate(draws)]
    shorts = [max(long * params.roundness, 0.05 * long) for long in longs]
    kernels = [psf.gaussian(a, b, math.pi * d[1]) for a, b, d in zip(longs, shorts, draws, strict=True)]
    return kernels, [math.sqrt(a * b) for a, b in zip(longs, shorts, strict=True)]


def partition(rng: np.random.Generator, shape: tuple[int, ...], count: int) -> list[Map]:
    """``count`` smooth random masks, (H, W) float32 >= 0, that sum to 1 up to rounding."""
    grids = rng.integers(1, 256, (count, 4, 5)).astype(np.float32)
    size = (shape[1], shape[0])
    masks = [np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR)).reshape(shape) for grid in grids]
    sharper = [mask * mask * mask for mask in masks]
    total = reduce(np.add, sharper)
    return [mask / total for mask in sharper]
