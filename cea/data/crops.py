"""Targets that are larger than their inputs: where the set's authors cropped.

RESIDE's SOTS indoor has targets of 640x480 pixels with a white border of 10 pixels, and hazy pictures of 620x460
without it. Those who publish figures on it crop the target at its centre, as FFA-Net does (``net/data_utils.py``).
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from cea.types import Image

Crop = Literal["known", "center", "top-left"]
"""Which part of a larger target shows what its input shows; ``known``: only as in the sets of `KNOWN`."""

KNOWN = {((480, 640), (460, 620)): "SOTS indoor"}
"""(height, width) of a target and of its input -> the set whose targets are cropped at the centre."""


def cropped(target: Image, size: tuple[int, int], crop: Crop) -> Image | None:
    """The part of ``target`` (H, W, ...) of the given ``size`` (h, w) that ``crop`` says; None where it says none.

    A centre that lies between two pixels is none.
    """
    height, width = target.shape[:2]
    spare = height - size[0], width - size[1]
    if min(spare) < 0 or (crop == "known" and ((height, width), size) not in KNOWN):
        return None
    if crop == "top-left":
        return target[: size[0], : size[1]]
    if spare[0] % 2 or spare[1] % 2:
        return None
    top, left = spare[0] // 2, spare[1] // 2
    return target[top : top + size[0], left : left + size[1]]


def likely(target: Image, picture: Image) -> Crop | None:
    """Which crop of ``target`` (H, W, 3) looks like ``picture`` (h, w, 3), by correlation; None where none does."""
    found: dict[float, Crop] = {}
    names: tuple[Crop, ...] = ("center", "top-left")
    for name in names:
        part = cropped(target, picture.shape[:2], name)
        if part is not None:
            found[_correlation(part, picture)] = name
    best = max(found, default=0.0)
    return found[best] if best > _ALIKE else None


_ALIKE = 0.9


def _correlation(one: Image, other: Image) -> float:
    greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64).ravel() for image in (one, other)]
    centred = [grey - grey.mean() for grey in greys]
    scale = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float(centred[0] @ centred[1]) / scale if scale else 0.0
