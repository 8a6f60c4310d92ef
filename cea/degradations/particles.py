"""Falling things: random specks smeared along their motion, in integers and therefore the same everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cea.degradations.normal import random_bits
from cea.degradations.tables import cos_sin

Specks = NDArray[np.uint16]


def specks(shape: tuple[int, int], seed: int, density: float) -> Specks:
    """A speck in each pixel with probability ``density``, of brightness 1..255; (H, W) uint16."""
    bits = random_bits(seed, shape[0] * shape[1]).reshape(shape)
    limit = min(65536, round(density * 65536))
    if limit == 0:
        return np.zeros(shape, np.uint16)
    bright = (bits & np.uint16(255)) | np.uint16(1)
    bright *= _rehash(bits) < limit
    return bright


def _rehash(bits: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Whether a speck is there must not tell how bright it is: multiply by an odd number, swap the bytes."""
    return (bits * np.uint16(40503)).byteswap()


def smear(points: Specks, length_px: int, angle_deg: float) -> Specks:
    """Each speck spread over ``length_px`` pixels towards ``angle_deg`` (0 = down, 90 = right), brightness kept.

    Doubling: a streak of 2 n is a streak of n plus itself moved by n, so the cost is logarithmic in the length.
    Sums saturate nowhere for length * 255 < 65536. What leaves the array is lost: pad the canvas.
    """
    assert length_px * 255 < 65536, length_px
    sin, cos = cos_sin(angle_deg)[::-1]
    streaks, done = points, 1
    for bit in bin(max(1, length_px))[3:]:
        streaks = _plus_moved(streaks, streaks, round(done * cos), round(done * sin))
        done *= 2
        if bit == "1":
            streaks = _plus_moved(streaks, points, round(done * cos), round(done * sin))
            done += 1
    return streaks


def _plus_moved(base: Specks, moving: Specks, down: int, right: int) -> Specks:
    height, width = base.shape
    total = base.copy()
    if abs(down) >= height or abs(right) >= width:
        return total
    to_rows, from_rows = slice(max(0, down), height + min(0, down)), slice(max(0, -down), height - max(0, down))
    to_columns, from_columns = slice(max(0, right), width + min(0, right)), slice(max(0, -right), width - max(0, right))
    total[to_rows, to_columns] += moving[from_rows, from_columns]
    return total
