"""Point spread functions, as integer weights that sum to 2^20, so that convolution with them is exact."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

UNIT = 2**20
"""What the integer weights of a kernel sum to."""

_POINT = 1e-100
"""A standard deviation in px that is a point to the last bit; 1 / 0 and what overflows when squared is none."""

Kernel = NDArray[np.float64]
"""(k, k), k odd, non-negative integers that sum to ``UNIT``."""


def quantised(weights: NDArray[np.float64]) -> Kernel:
    """Scale non-negative ``weights`` ((k, k), k odd) to integers that sum to ``UNIT`` exactly.

    What rounding leaves over goes to the first of the largest: of integers, so that ties are the same everywhere.
    """
    kernel = np.rint(weights * (UNIT / weights.sum()))
    kernel.flat[kernel.argmax()] += UNIT - kernel.sum()
    return kernel


def disc(radius: float) -> Kernel:
    """A pillbox of ``radius`` px with an anti-aliased rim: the image of a point out of focus (thin lens)."""
    half = math.ceil(radius)
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    return quantised(np.clip(radius + 0.5 - np.sqrt(x * x + y * y), 0.0, 1.0))


def gaussian(sigma_long: float, sigma_short: float, angle: float) -> Kernel:
    """A Gaussian with standard deviations in px along and across ``angle`` (radians from the x axis)."""
    sigma_long, sigma_short = max(sigma_long, _POINT), max(sigma_short, _POINT)
    half = max(1, math.ceil(3 * max(sigma_long, sigma_short)))
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    along = (x * math.cos(angle) + y * math.sin(angle)) / sigma_long
    across = (y * math.cos(angle) - x * math.sin(angle)) / sigma_short
    return quantised(np.exp(-0.5 * (along * along + across * across)))


def trace(path: NDArray[np.complex128]) -> Kernel:
    """The kernel left by a point that spends equal times at each position of ``path`` (px, complex x + iy).

    Each position is split bilinearly over four pixels; the centre of mass is put at the kernel's centre, so that the
    blur does not move the image.
    """
    centred = path - path.mean()
    half = max(1, math.ceil(float(np.abs([centred.real, centred.imag]).max())))
    size = 2 * half + 1
    weights = np.zeros((size + 1) * (size + 1))
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = np.floor(centred.real), np.floor(centred.imag)
            share = np.abs(1 - dx - (centred.real - x)) * np.abs(1 - dy - (centred.imag - y))
            index = ((y + half + dy) * (size + 1) + x + half + dx).astype(np.intp)
            weights += np.bincount(index, share, weights.size)
    return quantised(weights.reshape(size + 1, size + 1)[:size, :size])
