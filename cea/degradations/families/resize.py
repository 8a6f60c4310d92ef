"""Resizing: down and up again, as images lose resolution on their way through the web.

The kernels and their mixture follow BSRGAN (Zhang et al., "Designing a practical degradation model for deep blind image
super-resolution", ICCV 2021): area, bilinear or bicubic on the way down, bilinear, bicubic or nearest on the way up.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
from pydantic import Field, Strict

from cea.config import Config
from cea.degradations.contract import strength
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Within, log_uniform
from cea.degradations.exact.channels import per_channel
from cea.errors import RecordError
from cea.types import ImageF, Map

LARGEST = 8.0
"""Reduction at severity 1."""

MOST_PX = 2**30
"""Pixels that a factor below 1, which only a field makes, may enlarge an image to; 4 GiB per channel."""

Down = Literal["area", "bilinear", "bicubic"]
Up = Literal["bilinear", "bicubic", "nearest"]
_KERNELS = {
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}

_FACTOR = Within(1, 32)


class ResizeRanges(Config):
    """What to draw resizing from."""

    factor: Annotated[tuple[float, float], _FACTOR] = (1.5, 4.0)
    """How many times smaller each side becomes; drawn log-uniformly."""
    down: Annotated[tuple[Down, ...], Strict(False), Field(min_length=1)] = ("area", "bilinear", "bicubic")
    """Kernels to choose from on the way down."""
    up: Annotated[tuple[Up, ...], Strict(False), Field(min_length=1)] = ("bilinear", "bicubic")
    """Kernels to choose from on the way up."""


class ResizeParams(Params):
    """One way down and up."""

    factor: Annotated[float, _FACTOR]
    """How many times smaller each side becomes."""
    down: Down
    """Kernel on the way down."""
    up: Up
    """Kernel on the way up."""


class Resize(Degradation[ResizeRanges, ResizeParams]):
    """Loss of resolution; a strength map varies the factor from place to place (in its logarithm)."""

    name: ClassVar[str] = "resize"
    stage: ClassVar[Stage] = "codec"

    def sample(self, rng: np.random.Generator) -> ResizeParams:
        """Draw factor and kernels."""
        return ResizeParams(
            factor=log_uniform(rng, self.ranges.factor),
            down=self.ranges.down[rng.integers(len(self.ranges.down))],
            up=self.ranges.up[rng.integers(len(self.ranges.up))],
        )

    def at(self, severity: float) -> ResizeParams:
        """Area down and bicubic up, by up to ``LARGEST``."""
        return ResizeParams(factor=LARGEST**severity, down="area", up="bicubic")

    def apply(self, image: ImageF, params: ResizeParams, context: Context) -> Applied:
        """Resize twice; severity is log(factor) over log(``LARGEST``).

        Raises:
            RecordError: a field drives the factor so far below 1 that the image would grow beyond ``MOST_PX``.
        """
        if image.shape[0] * image.shape[1] > MOST_PX * params.factor**2:
            raise RecordError(
                f"a field drives the factor of resize down to {params.factor:g}",
                expected=f"at most {MOST_PX} pixels in between",
                remedy="raise the field's low",
            )
        severity = strength.severity_map(image, math.log(params.factor) / math.log(LARGEST), context.strength)
        share = strength.constant(context.strength)
        if context.strength is None or share is not None:
            return Applied(_resized(image, params, params.factor ** (1.0 if share is None else share)), severity)
        levels = [partial(_resized, image, params, params.factor**step) for step in (0.0, 1 / 3, 2 / 3, 1.0)]
        return Applied(strength.between(levels, context.strength * np.float32(3)), severity)


def _resized(image: ImageF, params: ResizeParams, factor: float) -> ImageF:
    height, width = image.shape[:2]
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    if small == (width, height):
        return image
    return per_channel(lambda plane: _there_and_back(plane, small, _KERNELS[params.down], _KERNELS[params.up]), image)


def _there_and_back(plane: Map, size: tuple[int, int], down: int, up: int) -> Map:
    small = cv2.resize(plane, size, interpolation=down)
    back = cv2.resize(small, plane.shape[::-1], interpolation=up)
    return np.asarray(back, np.float32).reshape(plane.shape)
