"""Fractal value noise without transcendental functions, so that it is the same bits on every machine."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np

from cea.degradations.exact.maps import resized, stretched
from cea.degradations.exact.normal import random_bits
from cea.rng import stream
from cea.types import Map

Shape: TypeAlias = tuple[int, int]


def fractal(shape: Shape, seed: int, cells: int, octaves: int) -> Map:
    """Smooth value noise over ``octaves``, stretched to [0, 1]; (H, W) float32.

    Args:
        shape: (H, W).
        seed: 64-bit seed.
        cells: lumps along the longer side in the first octave.
        octaves: each twice as fine and half as strong.
    """
    return stretched(lumps(shape, seed, cells, octaves), shape)


def lumps(shape: Shape, seed: int, cells: int, octaves: int) -> Map:
    """The noise of `fractal` before it is enlarged to ``shape``, (h, w) float32 in [0, 1]."""
    fine = max(16, min(max(shape), cells * 4 << (octaves - 1)))
    small = _scaled(shape, fine)
    total = np.zeros(small, np.float32)
    for octave in range(octaves):
        grid = _scaled(shape, cells << octave, least=2)
        bits = random_bits(stream(seed, octave), grid[0] * grid[1]).reshape(grid)
        values = bits.astype(np.float32) * np.float32(0.5**octave / 65535)
        total += resized(values, small, cv2.INTER_CUBIC)
    least, most = total.min(), total.max()
    return (total - least) / max(most - least, np.float32(1e-6))


def _scaled(shape: Shape, longer: int, least: int = 1) -> Shape:
    """``shape`` scaled so that its longer side is ``longer`` cells."""
    top = max(shape)
    return tuple(max(least, -(-side * longer // top)) for side in shape)  # type: ignore[return-value]
