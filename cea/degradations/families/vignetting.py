"""Vignetting: the natural fall-off of light towards the corners, in linear light.

cos^4 law (Kang & Weiss, "Can we calibrate a camera using an image of a flat, textureless Lambertian surface?", ECCV
2000): a pixel seen under the angle a from the axis receives cos^4 a = 1 / (1 + r^2 / f^2)^2 of the light, r its
distance from the centre and f the focal length.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np

from cea.config import Config
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Within, uniform
from cea.degradations.exact import transfer
from cea.types import ImageF, Map

LARGEST = 0.9
"""Light lost in the corners at severity 1."""

_FALLOFF = Within(0, 0.98)


class VignettingRanges(Config):
    """What to draw vignetting from."""

    falloff: Annotated[tuple[float, float], _FALLOFF] = (0.2, 0.8)
    """Share of the light that is lost in the corners."""


class VignettingParams(Params):
    """How dark the corners are."""

    falloff: Annotated[float, _FALLOFF]
    """Share of the light that is lost in the corners."""


class Vignetting(Degradation[VignettingRanges, VignettingParams]):
    """Light falls off with the fourth power of the cosine; a strength map scales the loss."""

    name: ClassVar[str] = "vignetting"
    stage: ClassVar[Stage] = "optics"

    def sample(self, rng: np.random.Generator) -> VignettingParams:
        """Draw the loss in the corners."""
        return VignettingParams(falloff=uniform(rng, self.ranges.falloff))

    def at(self, severity: float) -> VignettingParams:
        """Up to ``LARGEST`` of the light lost in the corners."""
        return VignettingParams(falloff=severity * LARGEST)

    def apply(self, image: ImageF, params: VignettingParams, context: Context) -> Applied:
        """Attenuate linear light; severity is the share that is lost, label ``vignette`` the share that is left."""
        lost = loss(image.shape[:2], params.falloff)
        if context.strength is not None:
            lost = lost * context.strength
        left = np.float32(1) - lost
        dimmed = transfer.encoded(transfer.linear(image) * left[..., None])
        untouched = lost == 0
        return Applied(np.where(untouched[..., None], image, dimmed), lost, {"vignette": left})


def loss(shape: tuple[int, ...], falloff: float) -> Map:
    """1 - cos^4: (H, W) float32, 0 on the axis and ``falloff`` in the corners."""
    height, width = shape
    squared_tangent = (1 - falloff) ** -0.5 - 1
    y, x = (np.arange(n, dtype=np.float32) * 2 - np.float32(n - 1) for n in (height, width))
    radius = (y * y)[:, None] + x * x
    farthest = np.float32(max((height - 1) ** 2 + (width - 1) ** 2, 1))
    inverse_cosine = np.float32(1) + radius * (np.float32(squared_tangent) / farthest)
    return np.float32(1) - np.float32(1) / (inverse_cosine * inverse_cosine)
