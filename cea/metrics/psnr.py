"""Peak signal-to-noise ratio of one image pair."""

from __future__ import annotations

import math

import cv2
import numpy as np

from cea.decibels import psnr_of
from cea.errors import ImageError
from cea.levels import as_unit
from cea.metrics.inputs import check_pair
from cea.types import Image, Map

_ROWS = 64
"""Rows taken at once: the float64 copies stay in the cache, and memory stays bounded for any image."""


def mean_squared_error(a: Image | Map, b: Image | Map) -> float:
    """Mean over all samples of (a - b)^2 in units of full scale squared, accumulated in float64.

    Args:
        a: (H, W) or (H, W, C); uint8, uint16, or float with full scale 1.
        b: the same shape; its dtype may differ.

    Raises:
        ImageError: shapes differ, the dtype has no known range, or a sample is not finite.
    """
    check_pair(a, b)
    if a.dtype == b.dtype == np.uint8:
        # Integer arithmetic: exact, and 20 times faster than floats.
        return float(cv2.norm(a, b, cv2.NORM_L2SQR)) / (a.size * 255.0**2)
    total = 0.0
    for top in range(0, a.shape[0], _ROWS):
        difference = as_unit(a[top : top + _ROWS]) - as_unit(b[top : top + _ROWS])
        total += float(np.vdot(difference, difference))
    if not math.isfinite(total):
        raise ImageError(
            "an image with NaN or infinity", expected="finite samples", remedy="check the model's output for NaN"
        )
    return total / a.size


def psnr(a: Image | Map, b: Image | Map) -> float:
    """PSNR in dB, 10 log10(1 / MSE), with one MSE over all pixels and channels of the image.

    Equal images give ``inf``: see ``cea.evaluation.judge.PSNR_CAP`` for what means make of it.
    Arguments and errors as in ``mean_squared_error``.
    """
    return psnr_of(mean_squared_error(a, b))
