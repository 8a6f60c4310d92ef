"""Veiling glare: light scattered inside the lens spreads over the picture.

A share of all light is redistributed by a wide glare spread function (Talvala et al., "Veiling glare in high dynamic
range imaging", SIGGRAPH 2007): y = (1 - s) x + s (g * x), in linear light. Clipped highlights were brighter than white
when they met the lens, so they may be expanded before they scatter.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.config import Config
from cea.degradations.contract import strength
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Share, Unit, Within, uniform
from cea.degradations.exact import transfer
from cea.degradations.exact.channels import per_channel
from cea.types import ImageF, Map

LARGEST = 0.5
"""Share of the light that is scattered at severity 1."""

CELL = 8
"""The spread is so wide that it is computed on cells of this many pixels."""

BRIGHT = 0.8
"""Linear light from which on a highlight counts as clipped."""

_SPREAD, _HIGHLIGHTS = Within(0.01, 0.5), Within(0, 20)


class GlareRanges(Config):
    """What to draw glare from."""

    scatter: Share = (0.05, 0.3)
    """Share of the light that is scattered."""
    spread: Annotated[tuple[float, float], _SPREAD] = (0.05, 0.2)
    """Radius of the spread as a share of the image's longer side."""
    highlights: Annotated[tuple[float, float], _HIGHLIGHTS] = (0.0, 6.0)
    """How many times brighter than white a clipped highlight was, less one."""


class GlareParams(Params):
    """What the lens scatters and how far."""

    scatter: Unit
    """Share of the light that is scattered."""
    spread: Annotated[float, _SPREAD]
    """Radius as a share of the longer side."""
    highlights: Annotated[float, _HIGHLIGHTS]
    """Expansion of clipped highlights."""


class Glare(Degradation[GlareRanges, GlareParams]):
    """A veil around what is bright; a strength map scales the scattered share."""

    name: ClassVar[str] = "glare"
    stage: ClassVar[Stage] = "optics"

    def sample(self, rng: np.random.Generator) -> GlareParams:
        """Draw scattered share, spread and highlights."""
        return GlareParams(
            scatter=uniform(rng, self.ranges.scatter),
            spread=uniform(rng, self.ranges.spread),
            highlights=uniform(rng, self.ranges.highlights),
        )

    def at(self, severity: float) -> GlareParams:
        """Up to ``LARGEST`` of the light scattered over a tenth of the image."""
        return GlareParams(scatter=severity * LARGEST, spread=0.1, highlights=1.5)

    def apply(self, image: ImageF, params: GlareParams, context: Context) -> Applied:
        """Scatter; severity is the scattered share over ``LARGEST``, label ``glare`` the veil in linear light."""
        severity = strength.severity_map(image, params.scatter / LARGEST, context.strength)
        if params.scatter == 0.0:
            return Applied(image, severity)
        light = transfer.linear(image)
        glow = veil(light, params.spread, params.highlights)
        share = strength.severity_map(image, params.scatter, context.strength)
        veiled = transfer.encoded(strength.blend(light, glow, share))
        untouched = share == 0
        return Applied(np.where(untouched[..., None], image, veiled), severity, {"glare": glow * share[..., None]})


def veil(light: ImageF, spread: float, highlights: float) -> ImageF:
    """Linear ``light``, highlights expanded, spread by three box filters (near a Gaussian); (H, W, 3) float32."""
    height, width = light.shape[:2]
    cells = _cells(light, highlights)
    reach = 2 * max(1, round(spread * max(cells.shape) / 2)) + 1
    wide = per_channel(lambda plane: _spread(plane, reach), cells)
    return wide[:height, :width] * np.float32(1 / transfer.TOP)


def _cells(light: ImageF, highlights: float) -> NDArray[np.float64]:
    """Means over cells in 16-bit codes, as integers: sums of integers are exact in any order."""
    # A clipped highlight is bright in all channels; one factor for the three keeps its colour.
    least = np.minimum(np.minimum(light[..., 0], light[..., 1]), light[..., 2])
    over = np.clip((least - np.float32(BRIGHT)) * np.float32(1 / (1 - BRIGHT)), np.float32(0), np.float32(1))
    gain = (np.float32(1) + np.float32(highlights) * over) * np.float32(transfer.TOP)
    return per_channel(_means, np.rint(light * gain[..., None]))


def _means(codes: Map) -> NDArray[np.float64]:
    height, width = codes.shape
    even = cv2.copyMakeBorder(codes, 0, -height % CELL, 0, -width % CELL, cv2.BORDER_REPLICATE).astype(np.float64)
    blocks = even.reshape(even.shape[0] // CELL, CELL, even.shape[1] // CELL, CELL)
    return np.rint(blocks.sum(axis=(1, 3)) * (1 / CELL**2))


def _spread(cells: NDArray[np.float64], reach: int) -> NDArray[np.float32]:
    """One channel through three boxes of ``reach`` cells, back at full size."""
    for _ in range(3):
        sums = cv2.boxFilter(cells, cv2.CV_64F, (reach, reach), normalize=False, borderType=cv2.BORDER_REFLECT)
        cells = np.rint(np.asarray(sums, np.float64).reshape(cells.shape) / (reach * reach))
    size = (cells.shape[1] * CELL, cells.shape[0] * CELL)
    return np.asarray(cv2.resize(cells.astype(np.float32), size, interpolation=cv2.INTER_LINEAR), np.float32)
