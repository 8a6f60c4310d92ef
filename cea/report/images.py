"""Pictures as data URIs, and numbers as colours that work on light and on dark paper."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.io.images import reduced
from cea.levels import to_codes
from cea.types import ImageU8

_WARM = (217, 98, 43)
_COLD = (38, 122, 158)
"""RGB of positive and negative values: apart also for colour-blind readers, and visible on black and on white."""

Rgba = NDArray[np.uint8]


def data_uri(image: ImageU8 | Rgba, quality: int) -> str:
    """A WebP data URI of an (H, W, 3) RGB or (H, W, 4) RGBA uint8 image."""
    order = cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    ok, data = cv2.imencode(".webp", cv2.cvtColor(image, order), (cv2.IMWRITE_WEBP_QUALITY, quality))
    assert ok
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode()


def severity_colours(band: NDArray[np.uint8]) -> Rgba:
    """(H, W) uint8 -> RGBA: one hue, opaque where the severity is full, transparent where it is none."""
    return _tint(np.zeros_like(band), band)


def affinity_colours(stack: NDArray[Any], max_side: int) -> list[Rgba]:
    """The r maps of one site as RGBA: warm is positive, cold negative, transparent zero.

    Full colour is the 99th percentile of |value| over the site, so that a few extreme tokens do not blank the rest.

    Args:
        stack: (r, h, w), signed.
        max_side: longer side of the result, in pixels.
    """
    values = np.asarray(stack, dtype=np.float32)
    scale = float(np.percentile(np.abs(values), 99)) or 1.0
    planes = [reduced(np.ascontiguousarray(plane), max_side) for plane in np.clip(values / scale, -1, 1)]
    return [_tint((plane < 0).astype(np.uint8), to_codes(np.abs(plane))) for plane in planes]


def _tint(which: NDArray[np.uint8], opacity: NDArray[np.uint8]) -> Rgba:
    colours = np.array([_WARM, _COLD], dtype=np.uint8)[which]
    return np.concatenate([colours, opacity[..., None]], axis=2)
