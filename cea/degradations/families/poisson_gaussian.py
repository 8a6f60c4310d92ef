"""Sensor noise: photons and electronics, variance x * shot + read in linear light.

The Gaussian approximation of Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image
raw-data" (IEEE TIP 2008); the joint distribution of shot and read noise over real cameras is that of Brooks et al.,
"Unprocessing images for learned raw denoising" (CVPR 2019): ln read = 2.18 ln shot + 1.20 + N(0, .26^2).
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np

from cea.config import Config
from cea.degradations.contract import strength
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Unit, Within, log_uniform
from cea.degradations.exact import elementary, transfer
from cea.degradations.exact.normal import noise_planes
from cea.types import ImageF

NOISIEST = (1.2e-2, 2.2e-4)
"""Shot and read variance at severity 1: the noisiest camera of the distribution."""


class PoissonGaussianRanges(Config):
    """What to draw sensor noise from."""

    shot: Annotated[tuple[float, float], Within(1e-6, 1)] = (1e-4, 1.2e-2)
    """Variance per unit of linear light (the gain), drawn log-uniformly; the read noise follows from it."""


class PoissonGaussianParams(Params):
    """The sensor's gain and electronics."""

    shot: Unit
    """Variance per unit of linear light."""
    read: Annotated[float, Within(0, 1000)]
    """Variance in the dark, linear light; follows ``shot`` with a spread; the bound is 22 standard deviations away."""


class PoissonGaussian(Degradation[PoissonGaussianRanges, PoissonGaussianParams]):
    """Noise that grows with the square root of the light; a strength map scales its standard deviation."""

    name: ClassVar[str] = "poisson_gaussian"
    stage: ClassVar[Stage] = "sensor"

    def sample(self, rng: np.random.Generator) -> PoissonGaussianParams:
        """Draw shot noise, and read noise as cameras couple it to it."""
        shot = log_uniform(rng, self.ranges.shot)
        read = elementary.exp(2.18 * elementary.log(shot) + 1.20 + 0.26 * rng.standard_normal())
        return PoissonGaussianParams(shot=shot, read=float(read))

    def at(self, severity: float) -> PoissonGaussianParams:
        """A standard deviation proportional to severity, up to ``NOISIEST``."""
        return PoissonGaussianParams(shot=NOISIEST[0] * severity**2, read=NOISIEST[1] * severity**2)

    def apply(self, image: ImageF, params: PoissonGaussianParams, context: Context) -> Applied:
        """Add noise in linear light and clip as the sensor does.

        Severity is the standard deviation at white over that of ``NOISIEST``; label ``sigma``, (H, W, 3), is the local
        standard deviation in linear light.
        """
        severity = strength.severity_map(
            image, math.sqrt((params.shot + params.read) / sum(NOISIEST)), context.strength
        )
        if params.shot == params.read == 0.0:
            return Applied(image, severity)
        light = transfer.linear(image)
        sigma = np.sqrt(light * np.float32(params.shot) + np.float32(params.read))
        if context.strength is not None:
            sigma *= context.strength[..., None]
        noise = noise_planes(context.stream, *image.shape[:2])
        noise *= sigma
        noise += light
        noisy = transfer.encoded(noise)
        if context.strength is not None:
            noisy = np.where((context.strength == 0)[..., None], image, noisy)
        return Applied(noisy, severity, {"sigma": sigma})
