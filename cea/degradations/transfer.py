"""Encoded to linear light and back, through tables, with 16-bit codes.

Light adds up and photons are counted in linear light, images are stored encoded. The curve is sRGB's (IEC
61966-2-1): unlike a pure power it has a finite slope at black, so 16-bit codes resolve the darks to a twentieth of
an 8-bit level. Pixels never meet a transcendental function: its last bit depends on the CPU.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

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
    return np.take(_decode_codes(), codes(image))


def linear(image: ImageF) -> ImageF:
    """The linear light of an encoded ``image``, float32 in [0, 1]."""
    return np.take(_decode(), codes(image))


def encoded(light: ImageF) -> ImageF:
    """The encoded image of linear ``light`` ([0, 1], clipped), float32 in [0, 1]."""
    return np.take(_encode(), codes(light))


def encoded_codes(light: Codes) -> ImageF:
    """The encoded image of linear ``light`` given as 16-bit codes, float32 in [0, 1]."""
    return np.take(_encode(), light)


@cache
def _decode() -> NDArray[np.float32]:
    x = np.arange(TOP + 1, dtype=np.float64) / TOP
    return _settled(np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4))


@cache
def _decode_codes() -> Codes:
    return codes(_decode())


@cache
def _encode() -> NDArray[np.float32]:
    x = np.arange(TOP + 1, dtype=np.float64) / TOP
    return _settled(np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055))


def _settled(table: NDArray[np.float64]) -> NDArray[np.float32]:
    """Drop the bits in which one CPU's power function differs from another's."""
    return (np.rint(table * 2.0**22) / 2.0**22).astype(np.float32)
