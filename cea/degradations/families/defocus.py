"""Defocus: a thin lens focused at one distance blurs the others, in linear light.

The circle of confusion of a point at distance d, with the lens focused at f, has the diameter proportional to
|1/f - 1/d| (Potmesil & Chakravarty, SIGGRAPH 1981): linear in *inverse* depth, which is what a scene carries. A few
pillbox levels are blended per pixel. In each level a pixel counts by how far out of focus it is itself, so that
what is sharp does not bleed into the blurred background (Scheuermann & Tatarchuk, ShaderX3, 2004).
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Annotated, ClassVar

import numpy as np

from cea.config import Config
from cea.degradations.contract import strength
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Share, Unit, Within, uniform
from cea.degradations.exact import convolution, psf, transfer
from cea.degradations.exact.channels import per_channel
from cea.types import ImageF, Map

LARGEST_PX = 10.0
"""Radius of the circle of confusion at severity 1."""

SMALL_PX = 2.0
"""Below this radius the blur is computed at full size, above it at half size, where nobody sees the difference."""

HALVING = 2.5
"""What halving and doubling blur by themselves, as the square of a pillbox's radius in px (four times the variance)."""

SHARES = (0.25, 0.5, 1.0)
"""Radii of the levels between which wide blur is interpolated, as shares of the largest."""

_RADIUS_PX = Within(0, 40)


class DefocusRanges(Config):
    """What to draw defocus from."""

    radius_px: Annotated[tuple[float, float], _RADIUS_PX] = (2.0, 8.0)
    """Radius of the circle of confusion at the far end of the depth range, px."""
    focus: Share = (0.0, 1.0)
    """Inverse depth in focus: 1 = near, 0 = far."""


class DefocusParams(Params):
    """Aperture and focus."""

    radius_px: Annotated[float, _RADIUS_PX]
    """Radius of the circle of confusion where the depth is farthest from the focus, px."""
    focus: Unit
    """Inverse depth in focus."""


class Defocus(Degradation[DefocusRanges, DefocusParams]):
    """Blur that grows with the distance from the plane in focus; a strength map scales its radius."""

    name: ClassVar[str] = "defocus"
    stage: ClassVar[Stage] = "optics"

    def sample(self, rng: np.random.Generator) -> DefocusParams:
        """Draw radius and focus."""
        return DefocusParams(radius_px=uniform(rng, self.ranges.radius_px), focus=uniform(rng, self.ranges.focus))

    def at(self, severity: float) -> DefocusParams:
        """Near things in focus, the far end blurred up to ``LARGEST_PX``."""
        return DefocusParams(radius_px=severity * LARGEST_PX, focus=1.0)

    def apply(self, image: ImageF, params: DefocusParams, context: Context) -> Applied:
        """Blur by each pixel's circle of confusion; severity is its radius over ``LARGEST_PX``."""
        confusion = _confusion(context.scene.inverse_depth, params.focus)
        if context.strength is not None:
            confusion = confusion * context.strength
        severity = strength.severity_map(image, params.radius_px / LARGEST_PX, confusion)
        if params.radius_px == 0.0:
            return Applied(image, severity)
        light = transfer.linear_codes(image)
        small = params.radius_px < SMALL_PX
        blurred = _evenly(light, params.radius_px) if small else _gathered(light, confusion, params.radius_px)
        reached = confusion * np.float32(1 if small else 1 / SHARES[0])
        mixed = strength.blend(light.astype(np.float32), blurred, np.minimum(reached, np.float32(1)))
        sharp = confusion == 0
        return Applied(np.where(sharp[..., None], image, transfer.encoded_codes(mixed.astype(np.uint16))), severity)


def _confusion(inverse_depth: Map, focus: float) -> Map:
    """(H, W) in [0, 1]: distance from the focus, 1 at the far end of the wider side."""
    return np.abs(inverse_depth - np.float32(focus)) * np.float32(1 / max(focus, 1 - focus))


def _evenly(light: transfer.Codes, radius: float) -> ImageF:
    """``light`` through one pillbox; codes as float32."""
    return convolution.convolve_codes(light, psf.disc(radius)).astype(np.float32)


def _gathered(light: transfer.Codes, confusion: Map, radius: float) -> ImageF:
    """``light`` blurred between pillboxes of ``SHARES`` of ``radius`` px, computed at half size; codes as float32."""
    height, width = light.shape[:2]
    small = per_channel(transfer.halved, light)
    less = transfer.halved(transfer.codes(confusion)).astype(np.float32) * np.float32(1 / transfer.TOP)
    levels = [partial(_level, small, less, radius * s, s) for s in SHARES]
    mixed = strength.between(levels, _position(less))
    full = per_channel(transfer.doubled, mixed.astype(np.uint16))
    return full[:height, :width].astype(np.float32)


def _position(confusion: Map) -> Map:
    """Between which of the levels a confusion in [0, 1] lies; the first one also takes what is below it."""
    steps = itertools.pairwise(SHARES)
    parts = [(confusion - np.float32(low)) * np.float32(1 / (high - low)) for low, high in steps]
    return sum((np.clip(part, np.float32(0), np.float32(1)) for part in parts), np.zeros_like(confusion))


def _level(light: transfer.Codes, confusion: Map, radius: float, share: float) -> ImageF:
    """The mean of half-size ``light`` over a disc, each pixel counting by how far out of focus it is."""
    kernel = psf.disc(max(radius * radius - HALVING, 0.25) ** 0.5 / 2)
    weight = np.rint(np.clip(confusion * np.float32(255 / share), np.float32(1), np.float32(255))).astype(np.float64)
    total = convolution.convolve(weight, kernel)
    return per_channel(lambda plane: (convolution.convolve(plane * weight, kernel) / total).astype(np.float32), light)
