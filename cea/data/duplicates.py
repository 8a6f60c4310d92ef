"""Near duplicates: the same picture resized, recompressed, mirrored or turned. Crops are not found.

Two steps: a 64-bit difference hash (the signs of the differences of neighbouring cells of a 9x8 thumbnail) proposes
pairs, the correlation of 32x32 thumbnails decides. The thumbnail ignores the aspect ratio.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.types import ImageU8

MAX_DISTANCE = 12
"""Hashes that differ in more bits are not compared further."""

MIN_CORRELATION = 0.93
"""Thumbnails that correlate at least so much show the same picture."""

_SIDE = 32

Thumbnail = NDArray[np.uint8]
"""(32, 32) uint8 grey."""


def thumbnail(rgb: ImageU8) -> Thumbnail:
    """A grey 32x32 version of a (H, W, 3) uint8 image."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def difference_hash(small: Thumbnail) -> int:
    """The 64-bit difference hash of a thumbnail."""
    cells = cv2.resize(small, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = cells[:, 1:] > cells[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def groups(thumbnails: Sequence[Thumbnail]) -> list[int]:
    """For each image, the index of the first one in its group of near duplicates (its own where it has none)."""
    parent = list(range(len(thumbnails)))
    for first, second in _pairs(thumbnails):
        low, high = sorted((_root(parent, first), _root(parent, second)))
        parent[high] = low
    return [_root(parent, index) for index in range(len(parent))]


def _pairs(thumbnails: Sequence[Thumbnail]) -> list[tuple[int, int]]:
    """Pairs of indices that show the same picture in some orientation; memory linear in their number."""
    hashes = [_hash_array(thumbnails, turn) for turn in range(8)]
    pairs = set()
    for index in range(1, len(thumbnails)):
        distance = [np.bitwise_count(hashes[turn][:index] ^ hashes[0][index]) for turn in range(8)]
        for turn, other in np.argwhere(np.stack(distance) <= MAX_DISTANCE):
            if (int(other), index) not in pairs and _same(_turned(thumbnails[other], turn), thumbnails[index]):
                pairs.add((int(other), index))
    return sorted(pairs)


def _hash_array(thumbnails: Sequence[Thumbnail], turn: int) -> NDArray[np.uint64]:
    return np.array([difference_hash(_turned(small, turn)) for small in thumbnails], np.uint64)


def _turned(small: Thumbnail, turn: int) -> Thumbnail:
    """One of the eight orientations of a square: a quarter turn each, from 4 on mirrored."""
    return np.ascontiguousarray(np.rot90(small if turn < 4 else small[:, ::-1], turn % 4))


def _same(first: Thumbnail, second: Thumbnail) -> bool:
    a, b = (small.astype(np.int64) - int(small.astype(np.int64).sum()) // small.size for small in (first, second))
    cross, power = int((a * b).sum()), int((a * a).sum()) * int((b * b).sum())
    if power == 0:
        return bool((first == second).all())
    return cross > 0 and cross * cross >= MIN_CORRELATION**2 * power


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
