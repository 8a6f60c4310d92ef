"""Gaussian noise: y = x + sigma n."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np

from cea.config import Config
from cea.degradations.contract import steps
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Within, uniform
from cea.degradations.contract.steps import PixelStep
from cea.degradations.exact.normal import add_noise, sigma_map
from cea.types import ImageF

_PER_SIGMA = 255 / 75
"""Severity per sigma."""

_SIGMA_255 = Within(0, 255)


class NoiseRanges(Config):
    """Ranges of Gaussian noise."""

    sigma_255: Annotated[tuple[float, float], _SIGMA_255] = (5.0, 50.0)
    """Standard deviation in 8-bit grey levels."""


class NoiseParams(Params):
    """Numbers of Gaussian noise."""

    sigma_255: Annotated[float, _SIGMA_255]
    """Standard deviation in 8-bit grey levels."""


class Noise(Degradation[NoiseRanges, NoiseParams]):
    """Additive white Gaussian noise, y = x + sigma n; the classic benchmark uses sigma 15, 25, 50 of 255."""

    name: ClassVar[str] = "noise"
    stage: ClassVar[Stage] = "sensor"

    def sample(self, rng: np.random.Generator) -> NoiseParams:
        """Draw sigma uniformly."""
        return NoiseParams(sigma_255=uniform(rng, self.ranges.sigma_255))

    def at(self, severity: float) -> NoiseParams:
        """Sigma from 0 to 50 of 255."""
        return NoiseParams(sigma_255=50.0 * severity)

    def apply(self, image: ImageF, params: NoiseParams, context: Context) -> Applied:
        """Add noise; sigma is scaled by the strength map. Label ``sigma`` in units of the image."""
        sigma = sigma_map(image, params.sigma_255 / 255, context.strength)
        noisy = add_noise(image, sigma, context.stream)
        return Applied(noisy, np.minimum(sigma * np.float32(_PER_SIGMA), 1), {"sigma": sigma})

    def pixel_steps(self, shape: tuple[int, int], params: NoiseParams, context: Context) -> Sequence[PixelStep]:
        """Noise, not clipped."""
        del shape, context
        return (steps.Noise(params.sigma_255 / 255, clip=False, scale=_PER_SIGMA),)
