"""How a strength map acts on a family: blending, levels between which to interpolate, and the severity label.

Everything is separate IEEE additions and multiplications, which give the same bits on every CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.levels import LEVEL
from cea.types import ImageF, Map


def severity_map(image: ImageF, severity: float, strength: Map | None) -> Map:
    """(H, W) float32: ``severity`` in [0, 1], scaled by ``strength`` where there is one."""
    level = np.float32(min(max(severity, 0.0), 1.0))
    if strength is None:
        return np.full(image.shape[:2], level, np.float32)
    return np.clip(strength, np.float32(0), np.float32(1)) * level


_NEAR_PX = 17
_HALF_LEVEL = 0.5 * LEVEL


def touched(image: ImageF, degraded: ImageF) -> Map:
    """1 where a pixel within 8 px changed by more than half an 8-bit level, else 0; (H, W) float32."""
    changed = (np.abs(degraded - image).max(axis=2) > _HALF_LEVEL).astype(np.uint8)
    return cv2.dilate(changed, np.ones((_NEAR_PX, _NEAR_PX), np.uint8)).astype(np.float32)


def blend(image: ImageF, degraded: ImageF, strength: Map | float | None) -> ImageF:
    """``image`` where ``strength`` is 0, ``degraded`` where it is 1 (or None), linear between."""
    if strength is None:
        return degraded
    weight = np.float32(strength) if isinstance(strength, float) else strength[..., None]
    return image + weight * (degraded - image)


def constant(strength: Map | None) -> float | None:
    """The value of a strength map that is the same everywhere (1 for None), or None if it varies."""
    if strength is None:
        return 1.0
    low = float(strength.min())
    return low if low == float(strength.max()) else None


def between(levels: Sequence[Callable[[], NDArray[Any]]], position: Map) -> NDArray[Any]:
    """Interpolate linearly between images or maps: level k where ``position`` is k.

    Args:
        levels: makers of (H, W, 3) images or (H, W) maps; one that no pixel needs is not called.
        position: (H, W) float32 in [0, len(levels) - 1].
    """
    total: NDArray[Any] | None = None
    for k, level in enumerate(levels):
        weight = np.maximum(np.float32(1) - np.abs(position - np.float32(k)), np.float32(0))
        if weight.any():
            values = level()
            share = values * (weight[..., None] if values.ndim == 3 else weight)
            total = share if total is None else total + share
    assert total is not None, "position lies outside the levels"
    return total
