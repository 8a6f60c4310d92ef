"""Encoded to linear light and back, through tables, with 16-bit codes.

Light adds up and photons are counted in linear light, images are stored encoded. The curve is sRGB's (IEC
61966-2-1): unlike a pure power it has a finite slope at black, so 16-bit codes resolve the darks to a twentieth of
an 8-bit level. Pixels never meet a transcendental function: its last bit depends on the CPU.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.degradations.exact.elementary import gather, power
from cea.types import ImageF

TOP = 65535
"""The code of 1.0."""

Codes = NDArray[np.uint16]


def codes(image: ImageF) -> Codes:
    """Quantise ``image`` ([0, 1], clipped) to 16-bit codes, half up."""
    scaled = np.clip(image, np.float32(0), np.float32(1)) * np.float32(TOP)
    return (scaled + np.float32(0.5)).astype(np.uint16)


def linear_codes(image: ImageF) -> Codes:
    """The linear light of an encoded ``image`` ([0, 1], clipped) as 16-bit codes."""
    return _look_up(_decode_codes(), codes(image))


def linear(image: ImageF) -> ImageF:
    """The linear light of an encoded ``image``, float32 in [0, 1]."""
    return _look_up(_decode(), codes(image))


def encoded(light: ImageF) -> ImageF:
    """The encoded image of linear ``light`` ([0, 1], clipped), float32 in [0, 1]."""
    return _look_up(_encode(), codes(light))


def encoded_codes(light: Codes) -> ImageF:
    """The encoded image of linear ``light`` given as 16-bit codes, float32 in [0, 1]."""
    return _look_up(_encode(), light)


def halved(plane: Codes) -> Codes:
    """Means of 2x2 blocks of (H, W), after evening out the size by repeating the last row and column."""
    height, width = plane.shape
    even = cv2.copyMakeBorder(plane, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    size = (even.shape[1] // 2, even.shape[0] // 2)
    return np.asarray(cv2.resize(even, size, interpolation=cv2.INTER_AREA), np.uint16).reshape(size[::-1])


def doubled(plane: Codes) -> Codes:
    """Twice the height and width of (H, W), bilinearly: quarters of integers, exact before they are rounded."""
    size = (plane.shape[1] * 2, plane.shape[0] * 2)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.uint16)


@cache
def _decode() -> NDArray[np.float32]:
    x = np.arange(TOP + 1, dtype=np.float64) / TOP
    return np.where(x <= 0.04045, x / 12.92, power((x + 0.055) / 1.055, 2.4)).astype(np.float32)


@cache
def _decode_codes() -> Codes:
    return codes(_decode())


@cache
def _encode() -> NDArray[np.float32]:
    x = np.arange(TOP + 1, dtype=np.float64) / TOP
    # Black itself is replaced before the power, which takes positive numbers.
    curve = 1.055 * power(np.maximum(x, 0.0031308), 1 / 2.4) - 0.055
    return np.where(x <= 0.0031308, 12.92 * x, curve).astype(np.float32)


def _look_up(table: NDArray[Any], index: Codes) -> NDArray[Any]:
    """``table[index]``, without reordering an image that is planar in memory."""
    planes = index.transpose(2, 0, 1) if index.ndim == 3 else index
    if index.ndim == 3 and planes.flags.c_contiguous:
        return gather(table, planes).transpose(1, 2, 0)
    return gather(table, index)
