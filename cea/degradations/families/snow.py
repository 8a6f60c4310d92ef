"""Snow: x = J (1 - S) + S with flakes of three depths, smeared by their fall (CSD, Chen et al. 2021; CDD-11)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import cv2
import numpy as np
from pydantic import Field

from cea.config import Config
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Share, Unit, Within, uniform
from cea.degradations.exact.maps import box_mean, resized
from cea.degradations.exact.particles import Specks, smear, specks
from cea.rng import stream
from cea.types import Image, ImageF, Map


def cover(image: Image, mask: Map) -> Image:
    """J (1 - S) + S, written J + (1 - J) S; S is (H, W) or (H, W, 3) in [0, 1]."""
    opaque = mask[..., None] if mask.ndim == 2 else mask
    white = 1 - image
    white *= opaque
    white += image
    return white


_AMOUNT, _ANGLE_DEG, _DEVIATION_DEG = Within(0, 4), Within(-80, 80), 10.0
_MOST_PER_MEGAPIXEL = 40000.0


class SnowRanges(Config):
    """Ranges of snow."""

    amount: Annotated[tuple[float, float], _AMOUNT] = (0.2, 1.5)
    """How much snow falls; 1 = a steady fall. Scales the number of flakes."""
    opacity: Share = (0.4, 0.9)
    """Opacity of a flake in focus."""
    angle_deg: Annotated[tuple[float, float], _ANGLE_DEG] = (-45.0, 45.0)
    """Direction of fall; 0 = straight down, positive = to the right."""
    speed: Annotated[tuple[float, float], Within(0, 4)] = (0.5, 1.5)
    """Length of the motion blur in flake sizes."""
    veil: Share = (0.0, 0.1)
    """Opacity of the flakes that are too far to be told apart."""


class Flakes(Config):
    """One depth of snow."""

    per_megapixel: Annotated[float, Within(0, _AMOUNT.most * _MOST_PER_MEGAPIXEL)]
    """How many flakes there are."""
    size_px: int = Field(ge=1, le=128)
    """Diameter of a flake."""
    length_px: int = Field(ge=1, le=256)
    """How far a flake moves during the exposure."""
    angle_deg: Annotated[float, Within(_ANGLE_DEG.least - _DEVIATION_DEG, _ANGLE_DEG.most + _DEVIATION_DEG)]
    """Direction of fall."""
    opacity: Unit
    """Opacity of a flake at its densest."""


class SnowParams(Params):
    """Numbers of snow."""

    layers: list[Flakes] = Field(max_length=16)
    """From far to near."""
    veil: Unit
    """Opacity of the flakes too far to be told apart."""


class Snow(Degradation[SnowRanges, SnowParams]):
    """Many small flakes far away, few large, soft ones nearby."""

    name: ClassVar[str] = "snow"
    stage: ClassVar[Stage] = "weather"

    def sample(self, rng: np.random.Generator) -> SnowParams:
        """Draw amount, opacity, angle and speed uniformly; layers differ by some degrees."""
        ranges = self.ranges
        amount, opacity = uniform(rng, ranges.amount), uniform(rng, ranges.opacity)
        angle, speed = uniform(rng, ranges.angle_deg), uniform(rng, ranges.speed)
        angles = [angle + uniform(rng, (-_DEVIATION_DEG, _DEVIATION_DEG)) for _ in _DEPTHS]
        return SnowParams(layers=_layers(amount, opacity, speed, angles), veil=uniform(rng, ranges.veil))

    def at(self, severity: float) -> SnowParams:
        """Flakes of growing opacity, none at 0."""
        return SnowParams(layers=_layers(1.0, 0.9 * severity, 1.0, [20.0] * len(_DEPTHS)), veil=0.1 * severity)

    def apply(self, image: ImageF, params: SnowParams, context: Context) -> Applied:
        """Cover the image; the strength map scales the opacity. Label ``mask`` is the opacity S."""
        mask = snow_mask(image.shape[:2], params, context.stream)
        most = max([params.veil, *(flakes.opacity for flakes in params.layers)])
        severity = np.full(image.shape[:2], np.float32(most))
        if context.strength is not None:
            mask *= context.strength
            severity *= context.strength
        return Applied(cover(image, mask), severity, {"mask": mask})


_DEPTHS = ((_MOST_PER_MEGAPIXEL, 2, 0.2), (2000.0, 3, 0.8), (600.0, 5, 1.0), (150.0, 12, 0.9), (15.0, 30, 0.6))
"""Far to near: flakes per megapixel at amount 1, size in pixels, opacity (share of the clearest layer's)."""


def _layers(amount: float, opacity: float, speed: float, angles: list[float]) -> list[Flakes]:
    return [
        Flakes(
            per_megapixel=count * amount,
            size_px=size,
            length_px=max(1, round(size * speed)),
            angle_deg=angle,
            opacity=opacity * share,
        )
        for (count, size, share), angle in zip(_DEPTHS, angles, strict=True)
    ]


def snow_mask(shape: tuple[int, int], params: SnowParams, seed: int) -> Map:
    """Opacity of the snow, (H, W) float32 in [0, 1]: what one layer leaves free the next may cover."""
    free = np.full(shape, np.float32(1 - params.veil))
    for index, flakes in enumerate(params.layers):
        if flakes.opacity and flakes.per_megapixel:
            free *= 1 - _flakes(shape, flakes, stream(seed, index))
    return 1 - free


def _flakes(shape: tuple[int, int], layer: Flakes, seed: int) -> Map:
    """Lumps of uneven cells on a grid of a fifth of the flake's size, smeared, softened, enlarged."""
    scale = max(1, layer.size_px // 5)
    length = -(-layer.length_px // scale)
    small = (-(-shape[0] // scale), -(-shape[1] // scale))
    margin = length + 3
    canvas = (small[0] + 2 * margin, small[1] + 2 * margin)
    flakes = specks(canvas, seed, layer.per_megapixel * scale**2 / 1e6)
    flakes = flakes * flakes >> np.uint16(8)  # few are bright
    if layer.size_px >= 5:
        flakes = _lumps(flakes, seed)
    smeared = smear(flakes, length, layer.angle_deg).astype(np.float32)
    soft = box_mean(box_mean(smeared, 2), 2)[margin : margin + small[0], margin : margin + small[1]]
    soft = np.minimum(soft * np.float32(4 / 255), 1) * np.float32(layer.opacity)
    large = resized(soft, (small[0] * scale, small[1] * scale), cv2.INTER_CUBIC)
    return np.clip(large[: shape[0], : shape[1]], 0, 1)


def _lumps(flakes: Specks, seed: int) -> Specks:
    """Each speck grown to 3 x 3 cells, each cell thinned at random: no two flakes look alike."""
    grown = cv2.dilate(flakes, np.ones((3, 3), np.uint8))
    thinned = grown * (specks(flakes.shape, stream(seed, "cells"), 1.0) | np.uint16(64))
    return thinned >> np.uint16(8)
