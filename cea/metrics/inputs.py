"""What every full-reference metric asks of its two images, checked in one place."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.errors import ImageError
from cea.types import Image, Map

UnitArray = NDArray[np.float64]
"""float64, nominally [0, 1]; (H, W) or (H, W, C)."""

_UNIT_OF_GREY = np.arange(256) / 255

_RANGES = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


def as_unit(image: Image | Map) -> UnitArray:
    """``image`` as float64 with full scale 1: uint8 / 255, uint16 / 65535, floats as they are (not clipped).

    Raises:
        ImageError: another dtype. The range is never guessed from the pixels.
    """
    if image.dtype == np.uint8 and image.size:
        # The same quotients from a table, three times as fast.
        return np.asarray(cv2.LUT(np.ascontiguousarray(image), _UNIT_OF_GREY), np.float64).reshape(image.shape)
    full_scale = _RANGES.get(image.dtype)
    if full_scale is not None:
        return image / np.float64(full_scale)
    if not np.issubdtype(image.dtype, np.floating):
        raise ImageError(
            f"an image of dtype {image.dtype}",
            expected="uint8, uint16, or float in [0, 1]",
            remedy="convert it, so that its range is known",
        )
    return image.astype(np.float64)


def check_pair(a: Image | Map, b: Image | Map, least: int = 1) -> None:
    """Both images have one shape, (H, W) or (H, W, C), and no side shorter than ``least`` pixels.

    Raises:
        ImageError: naming the shapes.
    """
    if a.shape != b.shape or a.ndim not in (2, 3):
        raise ImageError(
            f"images of shapes {a.shape} and {b.shape}",
            expected="equal shapes, (H, W) or (H, W, C)",
            remedy="crop or pair them properly; a metric never resizes",
        )
    if min(a.shape[:2]) < least or a.size == 0:
        raise ImageError(
            f"an image of {a.shape[1]}x{a.shape[0]} pixels (width x height)",
            expected=f"at least {least}x{least}",
            remedy="use larger images, or a metric without a window",
        )
