"""WebP: predicted 4x4 and 16x16 blocks of VP8's intra frames (RFC 6386), as browsers and messengers store images."""

from __future__ import annotations

import io
from typing import Annotated, ClassVar

import numpy as np
from PIL import Image as PilImage
from pydantic import Field

from cea.config import Config
from cea.degradations.contract import strength
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Within, uniform
from cea.errors import ImageError
from cea.levels import from_codes, to_uint8
from cea.types import ImageF, ImageU8

WORST = 1
"""Quality of severity 1."""


class WebpRanges(Config):
    """What to draw WebP compression from."""

    quality: Annotated[tuple[float, float], Within(0, 100)] = (20.0, 90.0)
    """libwebp quality."""


class WebpParams(Params):
    """How the image is coded."""

    quality: int | None = Field(ge=0, le=100)
    """libwebp quality; null = not coded."""


class Webp(Degradation[WebpRanges, WebpParams]):
    """A round trip through libwebp's lossy coder; a strength map scales the coding error from place to place."""

    name: ClassVar[str] = "webp"
    stage: ClassVar[Stage] = "codec"

    def sample(self, rng: np.random.Generator) -> WebpParams:
        """Draw the quality."""
        return WebpParams(quality=round(uniform(rng, self.ranges.quality)))

    def at(self, severity: float) -> WebpParams:
        """Quality from 100 down to ``WORST``."""
        return WebpParams(quality=None if severity <= 0 else round(100 - (100 - WORST) * severity))

    def apply(self, image: ImageF, params: WebpParams, context: Context) -> Applied:
        """Encode and decode at 8 bits; severity 0 at quality 100, 1 at ``WORST``."""
        if params.quality is None:
            return Applied(image, strength.severity_map(image, 0.0, None))
        coded = from_codes(round_trip(to_uint8(image), params.quality))
        severity = strength.severity_map(image, (101 - params.quality) / (101 - WORST), context.strength)
        return Applied(strength.blend(image, coded, context.strength), severity)


def round_trip(image: ImageU8, quality: int) -> ImageU8:
    """Encode as lossy WebP with the fastest method and decode again.

    Raises:
        ImageError: a side is longer than the format's 16383 pixels.
    """
    if max(image.shape) > 16383:
        raise ImageError(
            f"an image of {image.shape[1]}x{image.shape[0]} pixels for WebP",
            expected="sides up to 16383 pixels",
            remedy="crop it first",
        )
    coded = io.BytesIO()
    PilImage.fromarray(image).save(coded, "WEBP", quality=quality, method=0)
    with PilImage.open(coded) as decoded:
        return np.asarray(decoded.convert("RGB"))
