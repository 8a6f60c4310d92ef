"""Snow: x = J (1 - S) + S with flakes of three depths, smeared by their fall (CSD, Chen et al. 2021; CDD-11)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import cv2
import numpy as np
from pydantic import Field

from cea.config import Config
from cea.degradations.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.maps import box_mean, resized
from cea.degradations.particles import smear, specks
from cea.degradations.ranges import Share, Within, uniform
from cea.rng import stream
from cea.types import Image, ImageF, Map


def cover(image: Image, mask: Map) -> Image:
    """J (1 - S) + S, written J + (1 - J) S; S is (H, W) or (H, W, 3) in [0, 1]."""
    opaque = mask[..., None] if mask.ndim == 2 else mask
    white = 1 - image
    white *= opaque
    white += image
    return white


class SnowRanges(Config):
    """Ranges of snow."""

    amount: Annotated[tuple[float, float], Within(0, 4)] = (0.4, 1.6)
    """How much snow falls; scales the number of flakes."""
    opacity: Share = (0.4, 0.9)
    """Opacity of a flake in focus."""
    angle_deg: Annotated[tuple[float, float], Within(-80, 80)] = (-45.0, 45.0)
    """Direction of fall; 0 = straight down, positive = to the right."""
    speed: Annotated[tuple[float, float], Within(0, 4)] = (0.5, 1.5)
    """Length of the motion blur in flake sizes."""


class Flakes(Config):
    """One depth of snow."""

    density: float = Field(ge=0, le=1)
    """Flakes per pixel of that depth's own grid."""
    size_px: int = Field(ge=1, le=64)
    """Diameter of a flake: the grid of far ones is fine, that of near ones coarse."""
    length_px: int = Field(ge=1, le=256)
    """How far a flake moves during the exposure."""
    angle_deg: float
    """Direction of fall."""
    opacity: float = Field(ge=0, le=1)
    """Opacity of a flake at its densest."""


class SnowParams(Params):
    """Numbers of snow."""

    layers: list[Flakes]
    """From far to near."""


class Snow(Degradation[SnowRanges, SnowParams]):
    """Many small flakes far away, few large, soft ones nearby."""

    name: ClassVar[str] = "snow"
    stage: ClassVar[Stage] = "weather"
    Ranges: ClassVar[type[Config]] = SnowRanges
    Params: ClassVar[type[Params]] = SnowParams

    def sample(self, rng: np.random.Generator) -> SnowParams:
        """Draw amount, opacity, angle and speed uniformly; layers differ by some degrees."""
        ranges = self.ranges
        amount, opacity = uniform(rng, ranges.amount), uniform(rng, ranges.opacity)
        angle, speed = uniform(rng, ranges.angle_deg), uniform(rng, ranges.speed)
        angles = [angle + uniform(rng, (-10.0, 10.0)) for _ in _DEPTHS]
        return SnowParams(layers=_layers(amount, opacity, speed, angles))

    def at(self, severity: float) -> SnowParams:
        """Flakes of growing opacity, none at 0."""
        return SnowParams(layers=_layers(1.0, 0.9 * severity, 1.0, [20.0, 20.0, 20.0]))

    def apply(self, image: ImageF, params: SnowParams, context: Context) -> Applied:
        """Cover the image; the strength map scales the opacity. Label ``mask`` is the opacity S."""
        mask = snow_mask(image.shape[:2], params.layers, context.stream)
        severity = np.full(image.shape[:2], np.float32(max((flakes.opacity for flakes in params.layers), default=0)))
        if context.strength is not None:
            mask *= context.strength
            severity *= context.strength
        return Applied(cover(image, mask), severity, {"mask": mask})


_DEPTHS = ((0.02, 2, 0.6), (0.006, 4, 1.0), (0.0015, 12, 0.5))
"""Far to near: density at amount 1, size in pixels, opacity (share of the middle layer's)."""


def _layers(amount: float, opacity: float, speed: float, angles: list[float]) -> list[Flakes]:
    return [
        Flakes(
            density=min(1.0, density * amount),
            size_px=size,
            length_px=max(1, round(size * speed)),
            angle_deg=angle,
            opacity=opacity * share,
        )
        for (density, size, share), angle in zip(_DEPTHS, angles, strict=True)
    ]


def snow_mask(shape: tuple[int, int], layers: list[Flakes], seed: int) -> Map:
    """Opacity of the snow, (H, W) float32 in [0, 1]: what one layer leaves free the next may cover."""
    free = np.ones(shape, np.float32)
    for index, flakes in enumerate(layers):
        if flakes.opacity and flakes.density:
            free *= 1 - _flakes(shape, flakes, stream(seed, index))
    return 1 - free


def _flakes(shape: tuple[int, int], layer: Flakes, seed: int) -> Map:
    """Specks on a grid of half the flake's size, smeared, rounded by two boxes, enlarged."""
    scale = max(1, layer.size_px // 2)
    length = -(-layer.length_px // scale)
    small = (-(-shape[0] // scale), -(-shape[1] // scale))
    margin = length + 2
    canvas = specks((small[0] + 2 * margin, small[1] + 2 * margin), seed, layer.density)
    smeared = smear(canvas, length, layer.angle_deg).astype(np.float32)
    soft = box_mean(box_mean(smeared, 2), 2)[margin : margin + small[0], margin : margin + small[1]]
    soft = np.minimum(soft * np.float32(2 / 255), 1) * np.float32(layer.opacity)
    large = resized(soft, (small[0] * scale, small[1] * scale), cv2.INTER_CUBIC)
    return np.clip(large[: shape[0], : shape[1]], 0, 1)
