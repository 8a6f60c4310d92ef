"""Correlated noise: white noise that demosaicking and denoising have smeared over neighbours and channels.

A stationary Gaussian field, as in Goossens et al., "An improved non-local denoising algorithm" (LNLA 2008), section on
correlated noise: white noise through a Gaussian of ``size_px``, rescaled to ``sigma``. Its autocorrelation at
distance d is exp(-d^2 / (4 size^2)). A share ``common`` of the variance is the same in the three channels.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.config import Config
from cea.degradations.contract import strength
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Share, Unit, Within, uniform
from cea.degradations.exact import elementary
from cea.degradations.exact.normal import standard_normal
from cea.types import ImageF

STRONGEST_255 = 30.0
"""Standard deviation at severity 1, in 8-bit levels."""

UNIT = 2**14
"""Noise and weights are integers in steps of 1 / ``UNIT``: their sums are exact in any order."""

_POINT = 1e-100
"""Below any size, squared, that is not a point to the last bit, and no division by 0."""

_SIGMA_255, _SIZE_PX = Within(0, 255), Within(0.3, 8)


class CorrelatedNoiseRanges(Config):
    """What to draw correlated noise from."""

    sigma_255: Annotated[tuple[float, float], _SIGMA_255] = (5.0, 25.0)
    """Standard deviation in 8-bit grey levels."""
    size_px: Annotated[tuple[float, float], _SIZE_PX] = (0.6, 2.0)
    """Standard deviation of the Gaussian that smears it, px."""
    common: Share = (0.0, 0.6)
    """Share of the variance that all channels have in common: 0 = coloured grain, 1 = grey grain."""


class CorrelatedNoiseParams(Params):
    """Strength and shape of the noise."""

    sigma_255: Annotated[float, _SIGMA_255]
    """Standard deviation in 8-bit grey levels."""
    size_px: Annotated[float, _SIZE_PX]
    """Standard deviation of the smearing Gaussian, px."""
    common: Unit
    """Share of the variance common to the channels."""


class CorrelatedNoise(Degradation[CorrelatedNoiseRanges, CorrelatedNoiseParams]):
    """Grainy noise; a strength map scales its standard deviation."""

    name: ClassVar[str] = "correlated_noise"
    stage: ClassVar[Stage] = "sensor"

    def sample(self, rng: np.random.Generator) -> CorrelatedNoiseParams:
        """Draw strength, grain size and colour."""
        return CorrelatedNoiseParams(
            sigma_255=uniform(rng, self.ranges.sigma_255),
            size_px=uniform(rng, self.ranges.size_px),
            common=uniform(rng, self.ranges.common),
        )

    def at(self, severity: float) -> CorrelatedNoiseParams:
        """Up to ``STRONGEST_255``, grains of about a pixel, partly coloured."""
        return CorrelatedNoiseParams(sigma_255=severity * STRONGEST_255, size_px=1.0, common=0.5)

    def apply(self, image: ImageF, params: CorrelatedNoiseParams, context: Context) -> Applied:
        """Add noise; severity is its standard deviation over ``STRONGEST_255``, label ``sigma`` is it, (H, W)."""
        severity = strength.severity_map(image, params.sigma_255 / STRONGEST_255, context.strength)
        sigma = strength.severity_map(image, 1.0, context.strength) * np.float32(params.sigma_255 / 255)
        if params.sigma_255 == 0.0:
            return Applied(image, severity, {"sigma": sigma})
        noise = grain(context.stream, image.shape[:2], params.size_px, params.common)
        return Applied(image + noise * sigma[..., None], severity, {"sigma": sigma})


def grain(stream: int, shape: tuple[int, ...], size_px: float, common: float) -> ImageF:
    """Normal noise of unit variance, (H, W, 3) float32, correlated in space and between channels."""
    weights = _weights(size_px)
    margin = len(weights) // 2
    count = 4 if common > 0 else 3
    # The margin keeps the variance right up to the border, where a mirrored one would correlate with itself.
    white = standard_normal(stream, (count, shape[0] + 2 * margin, shape[1] + 2 * margin))
    fields = [_smeared(plane, weights)[margin : margin + shape[0], margin : margin + shape[1]] for plane in white]
    if common == 0:
        return np.stack(fields).transpose(1, 2, 0)
    shared = fields[3] * np.float32(math.sqrt(common))
    return np.stack([field * np.float32(math.sqrt(1 - common)) + shared for field in fields[:3]]).transpose(1, 2, 0)


def _weights(size_px: float) -> NDArray[np.float64]:
    """A Gaussian as odd number of integers whose sum is near ``UNIT``."""
    half = max(1, math.ceil(3 * size_px))
    x = np.arange(-half, half + 1, dtype=np.float64)
    # A field may drive the size down to 0; e^-1e6 is 0 as well, and `elementary.exp` takes no infinity.
    bell = elementary.exp(np.maximum(-0.5 * x * x / max(size_px * size_px, _POINT), -1e6))
    return np.rint(bell * (UNIT / bell.sum()))


def _smeared(white: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    steps = np.rint(white * np.float32(UNIT)).astype(np.float64)
    sums = np.asarray(cv2.sepFilter2D(steps, cv2.CV_64F, weights, weights), np.float64).reshape(white.shape)
    # Independent unit noises add up to a variance of (sum of squared weights) squared.
    return (sums * (1 / (UNIT * float((weights * weights).sum())))).astype(np.float32)
