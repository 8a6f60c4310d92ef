"""Falling things: random specks smeared along their motion, in integers and therefore the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cea.degradations.exact import compiled
from cea.degradations.exact.elementary import cos_sin
from cea.degradations.exact.normal import random_bits
from cea.rng import stream

Specks = NDArray[np.unsignedinteger]


def specks(shape: tuple[int, int], seed: int, density: float) -> Specks:
    """A speck in each pixel with probability ``density``, of brightness 1..255; (H, W) uint16."""
    threshold = _threshold(density)
    if compiled.takes():
        points = np.empty(shape, np.uint16)
        compiled.call("specks", seed, stream(seed, "brightness"), threshold, points.size, points)
        return points
    where = np.flatnonzero(random_bits(seed, shape[0] * shape[1]) < threshold)
    points = np.zeros(shape, np.uint16)
    points.reshape(-1)[where] = random_bits(stream(seed, "brightness"), len(where)) % np.uint16(255) + np.uint16(1)
    return points


def tapered(points: Specks, steps: int, angle_deg: float, stretch: float = 1.0) -> Specks:
    """Streaks that swell and fade: two smears of half the length; ``steps // 2`` times as bright as a speck."""
    first = max(1, steps // 2)
    half = smear(points, first, angle_deg, stretch)
    return smear(half.astype(np.uint32), steps + 1 - first, angle_deg, stretch)


def smear(points: Specks, steps: int, angle_deg: float, stretch: float = 1.0) -> Specks:
    """Each speck spread over ``steps`` cells towards ``angle_deg`` (0 = down, 90 = right), brightness kept.

    Doubling: a streak of 2 n is a streak of n plus itself moved by n, so the cost is logarithmic in the length.
    Nothing overflows for up to 257 steps. What leaves the array is lost: pad the canvas.

    Args:
        points: (H, W) specks.
        steps: length of the streaks in cells.
        angle_deg: direction on the image.
        stretch: height of a cell over its width.
    """
    streaks = points
    for alone, down, right in _moves(steps, angle_deg, stretch):
        streaks = _plus_moved(streaks, points if alone else streaks, down, right)
    return streaks


def _moves(steps: int, angle_deg: float, stretch: float) -> Iterator[tuple[bool, int, int]]:
    """What is added to a streak, one after the other: whether the speck alone, and how far it is moved."""
    cos, sin = cos_sin(angle_deg)
    sin *= stretch
    done = 1
    for bit in bin(max(1, steps))[3:]:
        yield False, round(done * cos), round(done * sin)
        done *= 2
        if bit == "1":
            yield True, round(done * cos), round(done * sin)
            done += 1


def add_streaks(
    total: NDArray[np.float32],
    seed: int,
    density: float,
    canvas: tuple[int, int],
    steps: int,
    angle_deg: float,
    stretch: float,
    wide: int,
    margin: int,
    bright: float,
) -> bool:
    """Add streaks to ``total`` in one compiled pass over it; False, and nothing is done, where there is no such thing.

    The same as ``specks``, ``smear`` (``tapered`` if ``wide`` > 1), without the first ``steps`` rows and ``margin``
    columns, times ``bright``, enlarged to cells of ``wide`` pixels by 1.

    Args:
        total: (H, W) float32.
        seed: of the specks.
        density: share of cells with a speck.
        canvas: rows and columns of cells, with the margins.
        steps, angle_deg, stretch: see ``smear``.
        wide: width of a cell in pixels.
        margin: columns of cells on each side that are left out.
        bright: brightness of a number.
    """
    levels: list[tuple[int, int, int, int]] = []
    first = max(1, steps // 2)
    for part in [steps] if wide == 1 else [first, steps + 1 - first]:
        start = len(levels)
        for alone, down, right in _moves(part, angle_deg, stretch):
            levels.append((len(levels), start if alone else len(levels), down, right))
    farthest = max([0, *(down for _, _, down, _ in levels)])
    if wide > 2 or not compiled.takes(total) or any(down < 0 for _, _, down, _ in levels):
        return False
    ring = 1 << farthest.bit_length()
    compiled.add_streaks(
        "narrow_streaks" if wide == 1 else "wide_streaks",
        levels,
        where=seed,
        brightness=stream(seed, "brightness"),
        threshold=_threshold(density),
        room=np.empty((len(levels) + 1) * ring * canvas[1], np.uint16 if wide == 1 else np.uint32),
        total=total,
        height=canvas[0],
        width=canvas[1],
        ring=ring,
        skip=steps,
        margin=margin,
        rows=total.shape[0],
        columns=total.shape[1],
        bright=bright,
    )
    return True


def _threshold(density: float) -> int:
    return min(65536, round(density * 65536))


def _plus_moved(base: Specks, moving: Specks, down: int, right: int) -> Specks:
    height, width = base.shape
    if abs(down) >= height or abs(right) >= width:
        return base.copy()
    fits = base.dtype == moving.dtype and base.itemsize in (2, 4) and base.shape == moving.shape
    if fits and compiled.takes() and base.flags.c_contiguous and moving.flags.c_contiguous:
        total = np.empty_like(base)
        compiled.call(f"plus_moved_{8 * base.itemsize}", base, moving, height, width, down, right, total)
        return total
    total = base.copy()
    to_rows, from_rows = slice(max(0, down), height + min(0, down)), slice(max(0, -down), height - max(0, down))
    to_columns, from_columns = slice(max(0, right), width + min(0, right)), slice(max(0, -right), width - max(0, right))
    total[to_rows, to_columns] += moving[from_rows, from_columns]
    return total
