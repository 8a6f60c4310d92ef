"""Integer codes of pixels and the unit interval: each way from one to the other, written once.

Two ways to float32 differ in the last bit: `unit_float` divides, `from_codes` multiplies by 1/255 as the engine does.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.errors import ImageError
from cea.types import Image, ImageF, ImageU8, Map

UnitArray = NDArray[np.float64]
"""float64, nominally [0, 1]; (H, W) or (H, W, C)."""

LEVEL = 1 / 255
"""One 8-bit grey level; full scale is 1."""

LEVEL_F32 = np.float32(LEVEL)
"""The factor from 8-bit codes to [0, 1] in single precision."""

UNIT_OF_LEVEL = np.arange(256) / 255
"""(256,) float64: each 8-bit code as a share of full scale."""

_RANGES = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


def as_unit(image: Image | Map) -> UnitArray:
    """``image`` as float64 with full scale 1: uint8 / 255, uint16 / 65535, floats as they are (not clipped).

    Raises:
        ImageError: another dtype. The range is never guessed from the pixels.
    """
    if image.dtype == np.uint8 and image.size:
        # The same quotients from a table, three times as fast.
        return np.asarray(cv2.LUT(np.ascontiguousarray(image), UNIT_OF_LEVEL), np.float64).reshape(image.shape)
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


def unit_float(image: NDArray[Any]) -> NDArray[np.float32]:
    """Unsigned integers over their full range, or floats as they are, as float32 with full scale 1; any shape."""
    top = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    return image.astype(np.float32) / np.float32(top)


def from_codes(image: NDArray[Any]) -> NDArray[np.float32]:
    """8-bit codes as float32 in [0, 1], any shape: times 1/255, as the engine's planes are made."""
    return np.multiply(image, LEVEL_F32, dtype=np.float32)


def to_uint8(image: Image) -> ImageU8:
    """Quantise to uint8: uint16 by full range, float from [0, 1], half to even, saturated.

    Raises:
        ImageError: another dtype, or NaN.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if not np.issubdtype(image.dtype, np.floating) or np.isnan(image).any():
        raise ImageError(
            f"an image of dtype {image.dtype}" + (" with NaN" if np.issubdtype(image.dtype, np.floating) else ""),
            expected="uint8, uint16, or float in [0, 1]",
            remedy="convert it first",
        )
    return np.rint(np.clip(image.astype(np.float64), 0, 1) * 255).astype(np.uint8)


def to_codes(values: ImageF | Map) -> NDArray[np.uint8]:
    """float32 in [0, 1] to 8-bit codes, any shape, half to even; the product in single precision, nothing checked."""
    return np.rint(values * np.float32(255)).astype(np.uint8)


def to_uint16(values: ImageF | Map) -> NDArray[np.uint16]:
    """Quantise floats to uint16 from [0, 1], any shape: half to even, saturated."""
    return np.rint(np.clip(values.astype(np.float64), 0, 1) * 65535).astype(np.uint16)
