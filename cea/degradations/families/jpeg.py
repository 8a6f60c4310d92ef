"""JPEG: quantised 8x8 cosine coefficients (Wallace, "The JPEG still picture compression standard", CACM 1991)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
from pydantic import Field

from cea.config import Config
from cea.degradations.contract import strength
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Within, uniform
from cea.errors import ImageError
from cea.levels import from_codes, to_uint8
from cea.types import ImageF, ImageU8

WORST = 10
"""Quality of severity 1."""

Sampling = Literal["420", "444"]
_SAMPLING = {"420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444}


class JpegRanges(Config):
    """What to draw JPEG compression from."""

    quality: Annotated[tuple[float, float], Within(1, 100)] = (30.0, 95.0)
    """libjpeg quality."""
    chroma: Sampling = "420"
    """Chroma subsampling: 420 halves both sides, 444 keeps them."""


class JpegParams(Params):
    """How the image is coded."""

    quality: int | None = Field(ge=1, le=100)
    """libjpeg quality; null = not coded."""
    chroma: Sampling = "420"
    """Chroma subsampling."""


class Jpeg(Degradation[JpegRanges, JpegParams]):
    """A round trip through libjpeg; a strength map scales the coding error from place to place."""

    name: ClassVar[str] = "jpeg"
    stage: ClassVar[Stage] = "codec"

    def sample(self, rng: np.random.Generator) -> JpegParams:
        """Draw the quality."""
        return JpegParams(quality=round(uniform(rng, self.ranges.quality)), chroma=self.ranges.chroma)

    def at(self, severity: float) -> JpegParams:
        """Quality from 100 down to ``WORST``."""
        quality = None if severity <= 0 else round(100 - (100 - WORST) * severity)
        return JpegParams(quality=quality, chroma=self.ranges.chroma)

    def apply(self, image: ImageF, params: JpegParams, context: Context) -> Applied:
        """Encode and decode at 8 bits; severity 0 at quality 100, 1 at ``WORST``."""
        if params.quality is None:
            return Applied(image, strength.severity_map(image, 0.0, None))
        coded = from_codes(round_trip(to_uint8(image), params.quality, params.chroma))
        severity = strength.severity_map(image, (101 - params.quality) / (101 - WORST), context.strength)
        return Applied(strength.blend(image, coded, context.strength), severity)


def round_trip(image: ImageU8, quality: int, chroma: Sampling) -> ImageU8:
    """Encode as JPEG and decode again.

    Raises:
        ImageError: a side is longer than the 65500 pixels libjpeg takes.
    """
    if max(image.shape) > 65500:
        raise ImageError(
            f"an image of {image.shape[1]}x{image.shape[0]} pixels for JPEG",
            expected="sides up to 65500 pixels",
            remedy="crop it first",
        )
    flags = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[chroma])
    ok, data = cv2.imencode(".jpg", image[..., ::-1], flags)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if ok else None
    assert decoded is not None
    return np.asarray(decoded[..., ::-1], np.uint8)
