"""Structural similarity (Wang et al., "Image quality assessment", IEEE TIP 13(4), 2004, eq. 13) of one image pair.

Published tables mix variants whose values differ by up to some .01:

* ``uniform``: 7x7 box, sample (co)variances; scikit-image's default, and what PromptIR's line of tables uses.
* ``gaussian``: 11x11, sigma 1.5, weighted (co)variances; the original paper, and MATLAB's ``ssim_index``.
* ``gaussian-sample``: the same window with (co)variances times 121/120; scikit-image with ``gaussian_weights=True`` and
  everything else left alone, which is what MoCE-IR's public code calls.

All average over the positions where the window lies wholly inside the image.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np

from cea.errors import ImageError
from cea.levels import UnitArray, as_unit
from cea.metrics.inputs import check_pair
from cea.types import Image, Map

SsimWindow = Literal["uniform", "gaussian", "gaussian-sample"]

WINDOW_SIDE: dict[SsimWindow, int] = {"uniform": 7, "gaussian": 11, "gaussian-sample": 11}
"""Pixels; no image side may be shorter."""

_UNBIAS: dict[SsimWindow, float] = {"uniform": 49 / 48, "gaussian": 1.0, "gaussian-sample": 121 / 120}
"""What the window's (co)variances are multiplied by: n / (n - 1) for sample estimates of n pixels."""

_GAUSSIAN_SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2
_ROWS = 32
"""Output rows computed at once: about ten times faster than whole megapixels, which fall out of the cache."""


def ssim(a: Image | Map, b: Image | Map, window: SsimWindow = "uniform") -> float:
    """Mean SSIM over pixels and channels, data range 1.

    Equals ``skimage.metrics.structural_similarity(a, b, channel_axis=-1, data_range=1)`` to 1e-6 (with
    ``gaussian_weights=True`` for the Gaussian windows, and ``use_sample_covariance=False`` for ``"gaussian"``).

    Args:
        a: (H, W) or (H, W, C); uint8, uint16, or float with full scale 1.
        b: the same shape; its dtype may differ.
        window: which variant; the text of this module describes the three.

    Raises:
        ImageError: shapes differ, a side is shorter than the window, unknown dtype, or samples not finite.
    """
    side = WINDOW_SIDE[window]
    check_pair(a, b, least=side)
    height = a.shape[0] - side + 1
    total = 0.0
    for top in range(0, height, _ROWS):
        rows = slice(top, min(top + _ROWS, height) + side - 1)
        with np.errstate(invalid="ignore"):  # refused below, with words
            total += float(_strip(as_unit(a[rows]), as_unit(b[rows]), window).sum())
    value = total / (height * (a.shape[1] - side + 1) * (a.size // (a.shape[0] * a.shape[1])))
    if not math.isfinite(value):
        raise ImageError(
            "an image with NaN or infinity", expected="finite samples", remedy="check the model's output for NaN"
        )
    return value


def _strip(x: UnitArray, y: UnitArray, window: SsimWindow) -> UnitArray:
    """SSIM at each position of a strip where the window fits: (H - side + 1, W - side + 1[, C])."""
    mean_x, mean_y = _average(x, window), _average(y, window)
    product = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    covariance = _UNBIAS[window] * (_average(x * y, window) - product)
    # Only the sum of the variances is needed, so four averages do where the definition names five.
    variances = _UNBIAS[window] * (_average(x * x + y * y, window) - squares)
    return ((2 * product + _C1) * (2 * covariance + _C2)) / ((squares + _C1) * (variances + _C2))


def _average(values: UnitArray, window: SsimWindow) -> UnitArray:
    side = WINDOW_SIDE[window]
    if window == "uniform":
        mean = cv2.boxFilter(values, cv2.CV_64F, (side, side))
    else:
        mean = cv2.GaussianBlur(values, (side, side), _GAUSSIAN_SIGMA)
    edge = side // 2
    return np.asarray(mean[edge : mean.shape[0] - edge, edge : mean.shape[1] - edge])
