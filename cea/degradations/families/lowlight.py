"""Low light: x = J L^(gamma - 1) + sigma n (the Retinex form of CDD-11, Guo et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cea.config import Config
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Share, Unit, Within, uniform
from cea.degradations.contract.steps import Noise, PixelStep, Relight, Table
from cea.degradations.exact import elementary
from cea.degradations.exact.maps import box_mean, strips
from cea.degradations.exact.normal import add_noise, sigma_map
from cea.degradations.exact.planes import grey
from cea.types import Image, ImageF, Map

_EPS = 0.01
_FLOOR = 1e-7


def illumination(light: Map, luma: Map) -> Map:
    """L = guided filter (He et al. 2013) of ``luma`` by ``light``, 3x3 boxes, eps .01, plus 1e-7; dtype kept."""
    result = np.empty_like(light)
    height = light.shape[0]
    for rows in strips(light.shape):
        top, bottom = max(0, rows.start - 2), min(height, rows.stop + 2)  # two boxes of radius 1
        filtered = _guided(light[top:bottom], luma[top:bottom])
        result[rows] = filtered[rows.start - top : rows.stop - top]
    return result


def _guided(guide: Map, luma: Map) -> Map:
    mean_i, mean_p = box_mean(guide, 3), box_mean(luma, 3)
    slope = box_mean(guide * luma, 3)
    slope -= mean_i * mean_p
    variance = box_mean(guide * guide, 3)
    variance -= mean_i * mean_i
    variance += guide.dtype.type(_EPS)
    slope /= variance
    mean_p -= slope * mean_i
    result = box_mean(slope, 3)
    result *= guide
    result += box_mean(mean_p, 3)
    np.maximum(result, 0, out=result)
    result += guide.dtype.type(_FLOOR)
    return result


def relight(image: Image, gain: Map) -> Image:
    """J g: the image under ``gain`` = L^(gamma - 1) of its illumination. Not clipped."""
    return image * gain[..., None]


_GAMMA, _SIGMA = Within(1, 6), Within(0, 0.5)


class LowLightRanges(Config):
    """Ranges of low light."""

    gamma: Annotated[tuple[float, float], _GAMMA] = (2.0, 3.0)
    """Exponent of the illumination; 1 leaves it."""
    sigma: Annotated[tuple[float, float], _SIGMA] = (0.03, 0.08)
    """Standard deviation of the sensor noise after darkening, in units of [0, 1]."""
    exposure: Share = (1.0, 1.0)
    """Overall factor on the light."""
    cast: Annotated[tuple[float, float], Within(0, 0.5)] = (0.0, 0.0)
    """Colour cast: each channel loses up to this share of its light."""


class LowLightParams(Params):
    """Numbers of low light."""

    gamma: Annotated[float, _GAMMA]
    """Exponent of the illumination."""
    sigma: Annotated[float, _SIGMA]
    """Standard deviation of the noise, in units of [0, 1]."""
    exposure_rgb: Annotated[list[Unit], Field(min_length=3, max_length=3)]
    """Factor on the light per channel."""


class LowLight(Degradation[LowLightRanges, LowLightParams]):
    """Darkening that follows the scene's illumination, a colour cast, and the sensor noise it uncovers."""

    name: ClassVar[str] = "low"
    stage: ClassVar[Stage] = "scene"

    def sample(self, rng: np.random.Generator) -> LowLightParams:
        """Draw gamma, sigma, exposure and cast uniformly."""
        ranges = self.ranges
        gamma, sigma = uniform(rng, ranges.gamma), uniform(rng, ranges.sigma)
        exposure, cast = uniform(rng, ranges.exposure), uniform(rng, ranges.cast)
        rgb = [exposure * (1 - uniform(rng, (0.0, cast))) for _ in range(3)]
        return LowLightParams(gamma=gamma, sigma=sigma, exposure_rgb=rgb)

    def at(self, severity: float) -> LowLightParams:
        """Gamma from 1 to 3, sigma from 0 to .08."""
        return LowLightParams(gamma=1 + 2 * severity, sigma=0.08 * severity, exposure_rgb=[1.0, 1.0, 1.0])

    def parts(self, params: LowLightParams) -> tuple[tuple[Stage, LowLightParams], ...]:
        """Darkening happens in the scene, noise on the sensor."""
        neutral = {"gamma": 1.0, "exposure_rgb": [1.0, 1.0, 1.0]}
        return (
            ("scene", params.model_copy(update={"sigma": 0.0})),
            ("sensor", params.model_copy(update=neutral)),
        )

    def apply(self, image: ImageF, params: LowLightParams, context: Context) -> Applied:
        """Darken, then add noise and clip; the strength map blends the loss of light and scales sigma.

        Labels: ``illumination`` (the factor on the light, (H, W)) and ``sigma``.
        """
        gain = self._gain(image, params, context)
        dark = image if gain is None else relight(image, gain)
        if params.exposure_rgb != [1.0, 1.0, 1.0]:
            dark = dark * _exposure(params, context.strength)
        if params.sigma:
            sigma = sigma_map(image, params.sigma, context.strength)
            dark = add_noise(dark, sigma, context.stream, None if dark is image else dark, clip=True)
        elif dark is image:
            dark = image.copy()
        return Applied(dark, *_severity(image, gain, params, context.strength))

    def pixel_steps(
        self, shape: tuple[int, int], params: LowLightParams, context: Context
    ) -> Sequence[PixelStep] | None:
        """Relight where gamma does something, then noise."""
        del shape
        noise = (Noise(params.sigma, clip=True),) if params.sigma else ()
        if params.gamma == 1:
            return noise if noise and params.exposure_rgb == [1.0, 1.0, 1.0] else None
        entries = _gains(params.gamma)
        gain = Table(entries, (len(entries) - 1) / _BRIGHTEST)
        loss = float(1 - np.float32(min(params.exposure_rgb)))
        return (Relight(context.scene.light, gain, tuple(params.exposure_rgb), loss), *noise)

    @staticmethod
    def _gain(image: ImageF, params: LowLightParams, context: Context) -> Map | None:
        if params.gamma == 1:
            return None
        light = illumination(context.scene.light, grey(image))
        gain = gain_of(light, params.gamma)
        return gain if context.strength is None else 1 - context.strength * (1 - gain)


_BRIGHTEST = 1.5


def gain_of(light: Map, gamma: float) -> Map:
    """L^(gamma - 1) for L in [0, 1.5] through a table; (H, W) float32."""
    return elementary.lookup(_gains(gamma), light, _BRIGHTEST)


def _gains(gamma: float) -> Map:
    return elementary.exp((gamma - 1) * _log_levels()).astype(np.float32)


@cache
def _log_levels() -> Map:
    return elementary.log(np.maximum(elementary.points(_BRIGHTEST), _FLOOR))


def _severity(
    image: ImageF, gain: Map | None, params: LowLightParams, strength: Map | None
) -> tuple[Map, dict[str, np.ndarray]]:
    """The share of light lost, and the labels of what was done."""
    labels = {"sigma": sigma_map(image, params.sigma, strength)} if params.sigma else {}
    if gain is None and params.exposure_rgb == [1.0, 1.0, 1.0]:
        return np.zeros(image.shape[:2], np.float32), labels
    least = 1 - np.float32(min(params.exposure_rgb))
    left = 1 - least if strength is None else 1 - strength * least
    kept = np.full(image.shape[:2], np.float32(1)) if gain is None else gain
    kept = kept if least == 0 else kept * left
    labels["illumination"] = kept
    return np.maximum(1 - kept, 0), labels


def _exposure(params: LowLightParams, strength: Map | None) -> ImageF:
    factor = np.array(params.exposure_rgb, np.float32)
    if strength is None:
        return factor
    return 1 - strength[..., None] * (1 - factor)
