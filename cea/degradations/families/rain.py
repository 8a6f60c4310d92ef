"""Rain: x = J + R with streaks of three depths (Garg and Nayar 2007), and the veil of heavy rain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cea.config import Config
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Share, Unit, Within, uniform
from cea.degradations.contract.steps import Add, PixelStep
from cea.degradations.exact.maps import resized
from cea.degradations.exact.particles import add_streaks, smear, specks, tapered
from cea.rng import stream
from cea.types import Image, ImageF, Map

_VEIL_LIGHT = 0.75


def add_rain(image: Image, layer: Map) -> Image:
    """J + R, (H, W, 3); R is (H, W) or (H, W, 3). Not clipped."""
    return image + (layer[..., None] if layer.ndim == 2 else layer)


_ANGLE_DEG, _DEVIATION_DEG = Within(-60, 60), 3.0


class RainRanges(Config):
    """Ranges of rain."""

    amount: Annotated[tuple[float, float], Within(0, 4)] = (0.5, 1.5)
    """How much rain falls; 1 = a shower. Scales the number of streaks."""
    intensity: Share = (0.12, 0.36)
    """Brightness of a fresh streak of the nearest layer."""
    length_px: Annotated[tuple[float, float], Within(1, 250)] = (24.0, 64.0)
    """Length of the nearest streaks."""
    angle_deg: Annotated[tuple[float, float], _ANGLE_DEG] = (-20.0, 20.0)
    """Direction of fall; 0 = straight down, positive = to the right."""
    veil: Share = (0.0, 0.0)
    """Share of light replaced by the grey of rain too fine to see."""
    fine: Share = (1.0, 1.0)
    """Share of the dense, faint streaks far away that fall; 0 leaves the near ones alone."""
    width_px: Annotated[tuple[float, float], Within(1, 8)] = (2.0, 2.0)
    """Width of the nearest streaks, to the nearest whole pixel."""


class Streaks(Config):
    """One depth of rain."""

    density: Unit
    """Share of pixels in which a streak starts."""
    length_px: int = Field(ge=1, le=256)
    """Length of its streaks."""
    angle_deg: Annotated[float, Within(_ANGLE_DEG.least - _DEVIATION_DEG, _ANGLE_DEG.most + _DEVIATION_DEG)]
    """Direction of fall."""
    intensity: Unit
    """Brightness of a streak at its brightest."""
    scale: int = Field(ge=1, le=8)
    """Streaks are this many pixels wide: near ones are out of focus."""


class RainParams(Params):
    """Numbers of rain."""

    layers: list[Streaks] = Field(max_length=16)
    """From far to near."""
    veil: Unit
    """Share of light replaced by grey."""


class Rain(Degradation[RainRanges, RainParams]):
    """Dense faint streaks far away, longer and brighter ones nearby."""

    name: ClassVar[str] = "rain"
    stage: ClassVar[Stage] = "weather"

    def sample(self, rng: np.random.Generator) -> RainParams:
        """Draw every range uniformly; layers differ by a few degrees."""
        ranges = self.ranges
        amount, intensity = uniform(rng, ranges.amount), uniform(rng, ranges.intensity)
        length, angle = uniform(rng, ranges.length_px), uniform(rng, ranges.angle_deg)
        angles = [angle + uniform(rng, (-_DEVIATION_DEG, _DEVIATION_DEG)) for _ in _DEPTHS]
        veil, fine, width = uniform(rng, ranges.veil), uniform(rng, ranges.fine), uniform(rng, ranges.width_px)
        return RainParams(layers=_layers(amount, intensity, length, angles, fine, round(width)), veil=veil)

    def at(self, severity: float) -> RainParams:
        """Streaks of growing brightness, none at 0."""
        return RainParams(layers=_layers(1.0, 0.4 * severity, 40.0, [10.0] * len(_DEPTHS)), veil=0.0)

    def apply(self, image: ImageF, params: RainParams, context: Context) -> Applied:
        """Add the streaks; the strength map scales them and the veil. Label ``mask`` is what was added."""
        layer = rain_layer(image.shape[:2], params.layers, context.stream)
        severity = np.full(image.shape[:2], np.float32(_most(params)))
        if context.strength is not None:
            layer *= context.strength
            severity *= context.strength
        rainy = _veiled(image, params.veil, context.strength)
        return Applied(add_rain(rainy, layer), severity, {"mask": layer})

    def pixel_steps(self, shape: tuple[int, int], params: RainParams, context: Context) -> Sequence[PixelStep] | None:
        """The streaks, where there is no veil."""
        if params.veil:
            return None
        layer = _low_layer(shape, params.layers, context.stream)
        return (Add(layer, _most(params), halved=_squeeze(params.layers) == 2),)


def _most(params: RainParams) -> float:
    """Severity at full strength."""
    return min(1.0, sum(streaks.intensity for streaks in params.layers) + params.veil)


def _veiled(image: ImageF, veil: float, strength: Map | None) -> ImageF:
    if not veil:
        return image
    share = np.float32(veil) if strength is None else (strength * np.float32(veil))[..., None]
    return image + (np.float32(_VEIL_LIGHT) - image) * share


_DEPTHS = ((0.15, 0.6, 0.12), (0.02, 0.8, 0.25), (0.00075, 1.0, 1.0))
"""Far to near: density at amount 1, length, brightness (shares of the nearest layer's)."""


def _layers(
    amount: float, intensity: float, length: float, angles: list[float], fine: float = 1.0, width: int = 2
) -> list[Streaks]:
    shares, widths = (fine, fine, 1.0), (1, 1, width)
    return [
        Streaks(
            density=min(1.0, density * amount * dense),
            length_px=max(1, round(length * share)),
            angle_deg=angle,
            intensity=intensity * bright,
            scale=wide,
        )
        for (density, share, bright), angle, dense, wide in zip(_DEPTHS, angles, shares, widths, strict=True)
    ]


def rain_layer(shape: tuple[int, int], layers: list[Streaks], seed: int) -> Map:
    """The light that rain adds, (H, W) float32."""
    low = _low_layer(shape, layers, seed)
    return resized(low, (low.shape[0] * _squeeze(layers), shape[1]))[: shape[0]]


def _squeeze(layers: list[Streaks]) -> int:
    """Steep streaks hardly change from row to row: they are drawn at half the height."""
    return 2 if all(abs(streaks.angle_deg) <= 30 for streaks in layers) else 1


def _low_layer(shape: tuple[int, int], layers: list[Streaks], seed: int) -> Map:
    """The light that rain adds, before its rows are doubled where they are to be."""
    squeeze = _squeeze(layers)
    total = np.zeros((-(-shape[0] // squeeze), shape[1]), np.float32)
    for index, streaks in enumerate(layers):
        if streaks.intensity and streaks.density:
            _add_streaks(total, streaks, squeeze, stream(seed, index))
    return total


def _add_streaks(total: Map, layer: Streaks, squeeze: int, seed: int) -> None:
    """Add one depth to (H / squeeze, W): cells as wide as its streaks, and at least ``squeeze`` pixels high."""
    shape = total.shape
    wide, high = layer.scale, max(squeeze, layer.scale)
    rows, columns = -(-shape[0] * squeeze // high), -(-shape[1] // wide)
    steps = -(-layer.length_px // high)
    margin = round(steps * high / wide)
    canvas, density = (rows + steps, columns + 2 * margin), layer.density * wide * high
    bright = layer.intensity / 255 / (max(1, steps // 2) if wide > 1 else 1)
    angle, stretch = layer.angle_deg, high / wide
    if high == squeeze and add_streaks(total, seed, density, canvas, steps, angle, stretch, wide, margin, bright):
        return
    lines = (tapered if wide > 1 else smear)(specks(canvas, seed, density), steps, angle, stretch)
    visible = lines[steps:, margin : margin + columns]
    total += resized(visible * np.float32(bright), (rows * high // squeeze, columns * wide))[: shape[0], : shape[1]]
