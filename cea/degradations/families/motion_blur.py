"""Motion blur: the camera's trajectory during the exposure, integrated in linear light.

The trajectory is the random walk with inertia of Boracchi & Foi, "Modeling the performance of image restoration from
motion blur" (IEEE TIP 2012): a velocity pushed by Gaussian tremor, drawn back by the hand, and at times reversed by a
jolt. Light adds up in linear light; blurring encoded pixels darkens highlights (Nah et al., CVPR 2017).
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from cea.config import Config
from cea.degradations.contract import strength
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Share, Unit, Within, uniform
from cea.degradations.exact import psf, transfer
from cea.degradations.exact.convolution import Tile, convolve_codes, tiles
from cea.rng import generator
from cea.types import ImageF, Map

LONGEST_PX = 60.0
"""Path length of severity 1."""

STEPS = 600
"""Positions per trajectory: a tenth of a pixel apart at severity 1."""

LEVELS = 3
"""Path lengths between which a strength map interpolates."""

JOLTS = 2.0
"""Expected jolts per exposure at shake 1."""

_LENGTH_PX = Within(0, 200)


class MotionBlurRanges(Config):
    """What to draw motion blur from."""

    length_px: Annotated[tuple[float, float], _LENGTH_PX] = (10.0, 40.0)
    """Length of the path that a point draws on the sensor, px."""
    shake: Share = (0.0, 0.6)
    """0 = a straight pan, 1 = a trembling hand."""


class MotionBlurParams(Params):
    """One exposure; the shape of its path follows from the node's stream."""

    length_px: Annotated[float, _LENGTH_PX]
    """Length of the path, px."""
    shake: Unit
    """Tremor and jolts, 0 to 1."""


class MotionBlur(Degradation[MotionBlurRanges, MotionBlurParams]):
    """The image seen along a camera trajectory; a strength map scales the path's length from place to place."""

    name: ClassVar[str] = "motion_blur"
    stage: ClassVar[Stage] = "optics"

    def sample(self, rng: np.random.Generator) -> MotionBlurParams:
        """Draw path length and shake."""
        return MotionBlurParams(length_px=uniform(rng, self.ranges.length_px), shake=uniform(rng, self.ranges.shake))

    def at(self, severity: float) -> MotionBlurParams:
        """A path of up to ``LONGEST_PX`` with a little shake."""
        return MotionBlurParams(length_px=severity * LONGEST_PX, shake=0.3)

    def apply(self, image: ImageF, params: MotionBlurParams, context: Context) -> Applied:
        """Convolve linear light with the path; severity is path length over ``LONGEST_PX``."""
        severity = strength.severity_map(image, params.length_px / LONGEST_PX, context.strength)
        path = trajectory(generator(context.stream), params.shake) * params.length_px
        share = strength.constant(context.strength)
        if share == 0.0 or params.length_px == 0.0:
            return Applied(image, severity)
        if context.strength is not None and share is None:
            return Applied(_unevenly(image, path, context.strength), severity)
        kernel = psf.trace(path * (1.0 if share is None else share))
        return Applied(transfer.encoded_codes(convolve_codes(transfer.linear_codes(image), kernel)), severity)


def trajectory(rng: np.random.Generator, shake: float) -> NDArray[np.complex128]:
    """A path of length 1 in the complex plane, ``STEPS`` positions at equal distances."""
    velocity = cmath.exp(2j * math.pi * rng.random())
    tremor = rng.standard_normal((STEPS, 2)) @ np.array([1, 1j])
    jolted, turns = rng.random(STEPS) < shake * JOLTS / STEPS, rng.random(STEPS) - 0.5
    position, path = 0j, np.empty(STEPS, np.complex128)
    for i in range(STEPS):
        path[i] = position
        push = shake * (4.0 * tremor[i] / math.sqrt(STEPS) - 12.0 * position / STEPS)
        jolt = 2 * velocity * cmath.exp(1j * (math.pi + turns[i])) if jolted[i] else 0
        velocity += push + jolt
        velocity /= abs(velocity)
        position += velocity / (STEPS - 1)
    return path


def _unevenly(image: ImageF, path: NDArray[np.complex128], share: Map) -> ImageF:
    """``image`` through ``share`` of the length of ``path`` at each pixel, between the nearest of some levels."""
    blurred = np.empty((image.shape[2], *image.shape[:2]), np.float32).transpose(1, 2, 0)
    kernels = [psf.trace(path * (level / LEVELS)) for level in range(1, LEVELS + 1)]
    for tile in tiles(transfer.linear_codes(image), kernels):
        window = tile.rows, tile.columns
        levels: list[Callable[[], ImageF]] = [partial(image.__getitem__, window)]
        levels += [partial(_seen, tile, index) for index in range(LEVELS)]
        blurred[window] = strength.between(levels, share[window] * np.float32(LEVELS))
    return blurred


def _seen(tile: Tile, index: int) -> ImageF:
    return transfer.encoded_codes(tile.through(index))
