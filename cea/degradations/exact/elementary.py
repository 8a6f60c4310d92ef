"""Exponentials, logarithms and powers that are the same bits on every machine, and look-up tables made of them.

``np.exp``, ``np.power``, ``np.log`` and ``np.sin`` choose code by the CPU's instruction set and differ in the last
bit. Here they are spelled out in additions, multiplications and divisions of float64, which IEEE 754 fixes exactly.
Relative error below 1e-14. They are for tables, maps at low resolution and the float64 reference; a megapixel goes
through ``lookup``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.degradations.exact import compiled
from cea.degradations.exact.maps import strips

Array = NDArray[Any]

_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_PI_HALF = 1.5707963267948966


def exp(x: Array | float) -> Array:
    """e^x by range reduction to |r| <= ln 2 / 2 and the Taylor polynomial of degree 13; |x| < 700."""
    x = np.asarray(x, np.float64)
    if compiled.takes() and x.flags.c_contiguous:
        powers = np.empty_like(x)
        compiled.call("exponentials", x, x.size, powers)
        return powers
    k = np.rint(x / (_LN2_HIGH + _LN2_LOW))
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    total = np.ones_like(r)
    for n in range(13, 0, -1):
        total = total * r / n + 1.0
    return np.ldexp(total, k.astype(np.int32))


def log(x: Array | float) -> Array:
    """ln x for x > 0: 2 artanh((m - 1) / (m + 1)) of the mantissa m in [sqrt(1/2), sqrt(2)) plus e ln 2."""
    m, e = np.frexp(np.asarray(x, np.float64))
    low = m < 0.7071067811865476
    m, e = np.where(low, m * 2.0, m), e - low
    f = (m - 1.0) / (m + 1.0)
    square, total = f * f, np.zeros_like(f)
    for n in range(23, 0, -2):
        total = total * square + 1.0 / n
    return 2.0 * f * total + e * _LN2_LOW + e * _LN2_HIGH


def power(x: Array, y: Array | float) -> Array:
    """x^y for x > 0."""
    return exp(np.asarray(y, np.float64) * log(x))


def cos_sin(degrees: float) -> tuple[float, float]:
    """Cosine and sine of an angle in degrees; exact at multiples of 90."""
    turns = round(degrees / 90.0)
    r = (degrees - 90.0 * turns) / 90.0 * _PI_HALF
    cos, sin = 1.0, 1.0
    for n in range(16, 0, -2):
        cos = 1.0 - cos * r * r / (n * (n - 1))
        sin = 1.0 - sin * r * r / (n * (n + 1))
    return ((cos, sin * r), (-sin * r, cos), (-cos, -sin * r), (sin * r, -cos))[turns % 4]


ENTRIES = 16384
"""Of a table."""


def points(top: float, entries: int = ENTRIES) -> Array:
    """Where a table over [0, top] is taken: evenly spaced, float64."""
    return np.arange(entries) * (top / (entries - 1))


def table(function: Callable[[Array], Array], top: float, reach: float | None = None, entries: int = ENTRIES) -> Array:
    """``function`` at ``points(top)``, computed in float64, kept as float32.

    Args:
        function: of float64.
        top: where the table ends.
        reach: the largest number that is looked up, where that is less: the table is cut a little behind it.
        entries: of the whole table.
    """
    at = points(top, entries)
    return function(at if reach is None else at[: int(1.01 * reach / at[1]) + 2]).astype(np.float32)


def lookup(entries: Array, values: Array, top: float) -> Array:
    """``entries`` at ``values`` in [0, top] (clipped), to the nearest entry; (H, W) float32."""
    looked_up = np.empty(values.shape, np.float32)
    scale = np.float32((len(entries) - 1) / top)
    if values.ndim == 2 and compiled.takes(entries, values):
        compiled.call("lookup", entries, len(entries), values, scale, values.size, looked_up)
        return looked_up
    for rows in strips(values.shape):
        index = values[rows] * scale
        np.rint(index, out=index)
        np.take(entries, index.astype(np.intp), mode="clip", out=looked_up[rows])
    return looked_up


def gather(entries: Array, index: Array) -> Array:
    """``entries[index]`` for a uint16 ``index`` of any shape; float32."""
    if _LUT_16 and len(entries) == 65536:
        return cv2.LUT(index.reshape(1, -1), entries.reshape(1, -1)).reshape(index.shape)
    return np.take(entries, index, mode="clip")


def _lut_takes_16_bits() -> bool:
    """OpenCV 5 looks up 16-bit indices three times faster than NumPy; older ones refuse them."""
    try:
        cv2.LUT(np.zeros((1, 1), np.uint16), np.zeros((1, 65536), np.float32))
    except cv2.error:
        return False
    return True


_LUT_16 = _lut_takes_16_bits()
