"""Haze: I = J t + A (1 - t), t = exp(-beta d) (Koschmieder 1924; RESIDE, Li et al. 2019; CDD-11, Guo et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cea.config import Config
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Share, Unit, Within, uniform
from cea.degradations.contract.steps import PixelStep, Table, Veil
from cea.degradations.exact import elementary
from cea.degradations.exact.fractal import fractal
from cea.degradations.exact.maps import box_mean, strips
from cea.rng import stream
from cea.types import Image, ImageF, Map

CAP = 0.7
"""CDD-11 lets haze stop thickening at this distance (of 1 = infinitely far)."""

_SMOOTHING = 22  # side of the box that CDD-11 smooths depth with, anchored at 11, borders reflected


def distance(inverse_depth: Map, cap: float = CAP) -> Map:
    """d = min(1 - box22(D), cap) of the inverse depth D, (H, W) in [0, 1]; the dtype is kept."""
    far = box_mean(inverse_depth, _SMOOTHING)
    np.subtract(1, far, out=far)
    return np.minimum(far, inverse_depth.dtype.type(cap), out=far)


def veil(image: Image, transmission: Map, airlight: np.ndarray | float) -> Image:
    """J t + A (1 - t), written A + (J - A) t; A one number or one per channel. Not clipped."""
    light = np.asarray(airlight, image.dtype)
    hazy = np.empty_like(image)
    for rows in strips(image.shape):
        for channel, level in enumerate(np.broadcast_to(light, 3)):
            band = image[rows, :, channel] - level
            band *= transmission[rows]
            np.add(band, level, out=hazy[rows, :, channel])
    return hazy


_BETA = Within(0, 10)


class HazeRanges(Config):
    """Ranges of haze."""

    beta: Annotated[tuple[float, float], _BETA] = (1.0, 2.0)
    """Scattering coefficient per unit of distance (1 = farthest)."""
    airlight: Share = (0.6, 0.9)
    """Brightness of infinitely thick haze."""
    airlight_jitter: Annotated[tuple[float, float], Within(0, 0.3)] = (0.0, 0.0)
    """How far each channel's airlight may lie from the common one (+-); gives haze a tint."""
    unevenness: Share = (0.0, 0.0)
    """Amplitude a of drifting banks: beta (1 + a f(x)) with smooth f in [-1, 1]."""
    cap: Share = (CAP, CAP)
    """Distance at which haze stops thickening."""


class HazeParams(Params):
    """Numbers of haze."""

    beta: Annotated[float, _BETA]
    """Scattering coefficient per unit of distance."""
    airlight_rgb: Annotated[list[Unit], Field(min_length=3, max_length=3)]
    """Airlight per channel."""
    unevenness: Unit = 0.0
    """Amplitude of the banks."""
    cap: Unit = CAP
    """Distance at which haze stops thickening."""


class Haze(Degradation[HazeRanges, HazeParams]):
    """Depth-dependent haze with grey or tinted airlight, even or in banks."""

    name: ClassVar[str] = "haze"
    stage: ClassVar[Stage] = "weather"

    def sample(self, rng: np.random.Generator) -> HazeParams:
        """Draw beta, airlight, its tint, unevenness and cap uniformly."""
        ranges = self.ranges
        beta, airlight = uniform(rng, ranges.beta), uniform(rng, ranges.airlight)
        jitter = uniform(rng, ranges.airlight_jitter)
        rgb = [min(1.0, max(0.0, airlight + uniform(rng, (-jitter, jitter)))) for _ in range(3)]
        return HazeParams(
            beta=beta,
            airlight_rgb=rgb,
            unevenness=uniform(rng, ranges.unevenness),
            cap=uniform(rng, ranges.cap),
        )

    def at(self, severity: float) -> HazeParams:
        """Beta from 0 to 2 under a grey airlight of .8."""
        return HazeParams(beta=2.0 * severity, airlight_rgb=[0.8, 0.8, 0.8])

    def apply(self, image: ImageF, params: HazeParams, context: Context) -> Applied:
        """Veil the image; the strength map scales beta. Labels ``transmission`` and ``airlight`` (H, W, 3)."""
        inverse_depth, strength = context.scene.inverse_depth, context.strength
        uneven = banks(image.shape[:2], params.unevenness, context.stream) if params.unevenness else None
        airlight = np.array(params.airlight_rgb, np.float32)
        thickness = distance(inverse_depth, params.cap)
        for factor in (uneven, strength):
            if factor is not None:
                thickness *= factor
        transmission = transmit(thickness, params.beta)
        hazy, severity = veil(image, transmission, airlight), 1 - transmission
        labels = {"transmission": transmission, "airlight": np.broadcast_to(airlight, image.shape)}
        return Applied(hazy, severity, labels)

    def pixel_steps(self, shape: tuple[int, int], params: HazeParams, context: Context) -> Sequence[PixelStep]:
        """A veil."""
        inverse_depth = context.scene.inverse_depth
        uneven = banks(shape, params.unevenness, context.stream) if params.unevenness else None
        entries = _transmissions(params.beta, params.cap * (1 + params.unevenness))
        transmission = Table(entries, (elementary.ENTRIES - 1) / _THICKEST)
        near = box_mean(inverse_depth, _SMOOTHING)
        return (Veil(near, uneven, params.cap, transmission, tuple(params.airlight_rgb)),)


_THICKEST = 2.0


def transmit(thickness: Map, beta: float) -> Map:
    """t = exp(-beta thickness), thickness in [0, 2], through a table; (H, W) float32."""
    return elementary.lookup(_transmissions(beta), thickness, _THICKEST)


def _transmissions(beta: float, reach: float | None = None) -> Map:
    return elementary.table(lambda d: elementary.exp(-beta * d), _THICKEST, reach)


def banks(shape: tuple[int, int], amplitude: float, seed: int) -> Map:
    """1 + a f with f smooth in [-1, 1], three octaves; (H, W) float32."""
    return 1 + np.float32(amplitude) * (2 * fractal(shape, stream(seed, "banks"), cells=3, octaves=3) - 1)
