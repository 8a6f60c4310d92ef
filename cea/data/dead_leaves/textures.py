"""An atlas of small surface textures for dead leaves: bark, fur, stone, grass, cloth.

Integer arithmetic and IEEE-exact float64 operations only, so the bytes are the same on every machine.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.rng import generator, stream

SIDE = 256
"""Height and width of a texture in pixels; textures tile without seams."""


@cache
def atlas() -> NDArray[np.int32]:
    """(K, 256, 256) int32 in [-128, 127], about zero mean: the textures a leaf may carry. Built once per process."""
    rng = generator(stream("leaf textures"))
    rough = [_fractal(rng, 4, 7, gain) for gain in (0.55, 0.65, 0.75, 0.85)]
    along = [_stretched(rng, times) for times in (4, 8)]
    lines = [_waves(rng, count, warp) for count, warp in ((6, 0.6), (14, 0.9), (24, 0.35))]
    veins = [np.abs(_fractal(rng, 8, 5, 0.5)) - 0.25, _waves(rng, 10, 0.2) * _waves(rng, 16, 0.2).T]
    spots = [np.where(_fractal(rng, 16, 4, 0.6) > 0.12, 1.0, -0.4) + 0.3 * _fractal(rng, 32, 4, 0.8)]
    return np.stack([_quantise(texture) for texture in (*rough, *along, *lines, *veins, *spots)])


def _quantise(texture: NDArray[np.float64]) -> NDArray[np.int32]:
    centred = texture - _level(texture)
    peak = np.sort(np.abs(centred), axis=None)[int(0.99 * centred.size)]
    return np.clip(np.rint(centred * (127 / peak)), -128, 127).astype(np.int32)


def _level(texture: NDArray[np.float64]) -> float:
    """The median. A mean would depend on the order of summation, which differs between machines."""
    return float(np.sort(texture, axis=None)[texture.size // 2])


def _fractal(rng: np.random.Generator, cells: int, octaves: int, gain: float) -> NDArray[np.float64]:
    """Value noise, periodic: octaves of ``cells`` * 2^k random values each way, the k-th weighted gain^k."""
    total, weight = np.zeros((SIDE, SIDE)), 1.0
    for octave in range(octaves):
        total += weight * _enlarged(rng, min(cells << octave, SIDE), min(cells << octave, SIDE))
        weight *= gain
    return total / octaves**0.5


def _stretched(rng: np.random.Generator, times: int) -> NDArray[np.float64]:
    """Fibres: noise ``times`` as long as it is wide, on two scales."""
    return (
        _enlarged(rng, 128 // times, 128) + 0.6 * _enlarged(rng, SIDE // times, SIDE) + 0.4 * _fractal(rng, 4, 5, 0.6)
    )


def _waves(rng: np.random.Generator, count: int, warp: float) -> NDArray[np.float64]:
    """``count`` bands across the tile, their phase bent by fractal noise by up to ``warp`` bands, with some grain."""
    across = np.arange(SIDE)[:, None] * (count / SIDE)
    phase = across + warp * 2 * _fractal(rng, 4, 4, 0.5)
    triangle = 4 * np.abs(phase - np.floor(phase) - 0.5) - 1
    return triangle * (1.5 - 0.5 * triangle * triangle) + 0.35 * _fractal(rng, 32, 4, 0.8)


def _enlarged(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    """rows x columns random values in [-1, 1), enlarged to the tile smoothly and periodically."""
    values = rng.random((rows, columns)) * 2 - 1
    return _smooth(_smooth(values, SIDE // rows).T, SIDE // columns).T


def _smooth(values: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Each row ``times`` over, blended into the next one (cyclically) by a smoothstep."""
    step = np.arange(times) / times
    blend = (step * step * (3 - 2 * step))[None, :, None]
    following = np.roll(values, -1, axis=0)
    mixed = values[:, None, :] * (1 - blend) + following[:, None, :] * blend
    return mixed.reshape(-1, values.shape[1])


def soften(image: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Blur uint8 by two box means of side 2 * ``radius`` + 1 (integer sums, so exact); 0 leaves it as it is."""
    if radius == 0:
        return image
    side = (2 * radius + 1, 2 * radius + 1)
    once = cv2.blur(image, side, borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.blur(once, side, borderType=cv2.BORDER_REFLECT), np.uint8)
