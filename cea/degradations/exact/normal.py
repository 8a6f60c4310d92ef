"""The one source of random pixels: a counter hash (SplitMix64, Steele et al. 2014) through a table of normal quantiles.

Integer arithmetic and a look-up: the same on every machine, and several times faster than a sampler.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cea.degradations.exact import compiled
from cea.degradations.exact.elementary import gather
from cea.degradations.exact.maps import strips
from cea.types import ImageF, Map

_GOLDEN = 0x9E3779B97F4A7C15
_CHUNK = 1 << 15  # 256 KiB of state: stays in the second-level cache


def random_bits(stream: int, count: int, start: int = 0) -> NDArray[np.uint16]:
    """Numbers ``start`` to ``start + count`` of a stream of 16-bit ones: SplitMix64 of the counter."""
    if compiled.takes():
        numbers = np.empty(count, np.uint16)
        compiled.call("random_bits", stream, start, count, numbers)
        return numbers
    first = start // 4
    words = np.empty((start + count + 3) // 4 - first, np.uint64)
    for begin in range(0, len(words), _CHUNK):
        chunk = words[begin : begin + _CHUNK]
        offset = (stream + _GOLDEN * (first + begin)) % (1 << 64)
        np.add(_counters()[: len(chunk)], np.uint64(offset), out=chunk)
        _mix(chunk)
    return words.view(np.uint16)[start - 4 * first :][:count]


@lru_cache(maxsize=1)
def _counters() -> NDArray[np.uint64]:
    return np.uint64(_GOLDEN) * np.arange(1, _CHUNK + 1, dtype=np.uint64)


def _mix(z: NDArray[np.uint64]) -> None:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        z ^= z >> np.uint64(shift)
        if factor != 1:
            z *= np.uint64(factor)


@lru_cache(maxsize=1)
def normal_table() -> NDArray[np.float32]:
    """The 65536 quantiles of a standard normal at (i + 1/2) / 65536, scaled to unit variance; |n| < 4.33."""
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse(0.5 + (i + 0.5) / 65536) for i in range(32768)])
    scale = math.sqrt(32768 / math.fsum(upper * upper))
    values = np.concatenate([-upper[::-1], upper]) * scale
    return values.astype(np.float32)


def standard_normal(stream: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Independent N(0, 1) numbers of ``shape``, a pure function of ``stream``; float32."""
    if compiled.takes():
        numbers = np.empty(shape, np.float32)
        compiled.call("normal_numbers", stream, numbers.size, normal_table(), numbers)
        return numbers
    bits = random_bits(stream, math.prod(shape))
    return gather(normal_table(), bits).reshape(shape)


def noise_planes(stream: int, height: int, width: int) -> ImageF:
    """Standard normal (H, W, 3), independent per pixel and channel, planar in memory; float32."""
    return standard_normal(stream, (3, height, width)).transpose(1, 2, 0)


def sigma_map(image: ImageF, sigma: float, strength: Map | None) -> Map:
    """The standard deviation per pixel, (H, W) float32 in units of the image."""
    if strength is None:
        return np.full(image.shape[:2], np.float32(sigma))
    return strength * np.float32(sigma)


def add_noise(image: ImageF, sigma: Map, stream: int, out: ImageF | None = None, clip: bool = False) -> ImageF:
    """image + sigma n with n = ``noise_planes(stream, H, W)``.

    Args:
        image: (H, W, 3) float32.
        sigma: (H, W) float32, in units of the image.
        stream: seed.
        out: where to put it; may be ``image`` itself. None: a new image.
        clip: whether to clip to [0, 1].
    """
    height, width = sigma.shape
    noisy = compiled.planar(sigma.shape) if out is None else out
    if compiled.takes(image, sigma, noisy):
        compiled.call("add_noise", image, sigma, 1, clip, stream, sigma.size, normal_table(), noisy)
        return noisy
    for channel in range(3):
        for rows in strips(sigma.shape):
            begin = (channel * height + rows.start) * width
            bits = random_bits(stream, (rows.stop - rows.start) * width, begin)
            noise = gather(normal_table(), bits).reshape(-1, width)
            noise *= sigma[rows]
            band = noisy[rows, :, channel]
            np.add(image[rows, :, channel], noise, out=band)
            if clip:
                np.clip(band, 0, 1, out=band)
    return noisy
