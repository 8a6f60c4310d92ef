"""The map operations that OpenCV does the same way on every CPU, box means and resizing, and work in strips.

A megapixel of float32 falls out of the cache, and each fresh array of it costs a thousand page faults: what is
pointwise, or nearly so, is done in strips of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.degradations.exact import compiled
from cea.types import Map

M = TypeVar("M", bound=NDArray[Any])


def box_mean(values: M, side: int) -> M:
    """Mean over a ``side`` x ``side`` box, borders reflected (101), even boxes anchored at side / 2; dtype kept."""
    # OpenCV has small ones sooner.
    quick = compiled.box_mean(values, side) if side > 4 and values.size > 10000 else None
    if quick is not None:
        return quick  # type: ignore[return-value]
    mean = cv2.blur(np.ascontiguousarray(values), (side, side), borderType=cv2.BORDER_REFLECT_101)
    return mean.reshape(values.shape)  # type: ignore[return-value]


def resized(values: M, shape: tuple[int, ...], interpolation: int = cv2.INTER_LINEAR) -> M:
    """``values`` (h, w[, C]) resized to the (H, W) of ``shape``, bilinear unless said otherwise; dtype kept."""
    if values.shape[:2] == tuple(shape[:2]):
        return values
    enlarged = cv2.resize(np.ascontiguousarray(values), (shape[1], shape[0]), interpolation=interpolation)
    return enlarged.reshape(shape[0], shape[1], *values.shape[2:])  # type: ignore[return-value]


def stretched(values: Map, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Map:
    """low + (high - low) v for ``values`` v in [0, 1], (h, w), `resized` to the (H, W) of ``shape``; float32.

    Args:
        values: float32.
        shape: begins with H and W.
        low: what 0 becomes.
        high: what 1 becomes.
    """
    height, width = shape[:2]
    factor, more = np.float32(high - low), np.float32(low)
    enlarges = values.shape != (height, width) and values.shape[0] <= height and values.shape[1] <= width
    if enlarges and compiled.takes(values):
        large = np.empty((height, width), np.float32)
        compiled.call("enlarged", values, *values.shape, factor, more, height, width, large)
        return large
    large = resized(values, shape)
    if (low, high) != (0, 1):
        large = large * factor
        large += more
    return large


def strips(shape: tuple[int, ...], pixels: int = 1 << 16) -> Iterator[slice]:
    """Slices that cut the rows of ``shape`` into strips of about ``pixels`` pixels."""
    rows = max(1, pixels // max(1, shape[1]))
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))
