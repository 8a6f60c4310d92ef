"""Convolution of light with point spread functions, the same bits on every CPU, and with several of them at once.

Weights are integers that sum to 2^20 and light comes as 16-bit codes, so that every product and sum is an exact
integer in float64: neither the order of summation, nor fused multiply-add, nor a Fourier transform (whose error is
rounded away) can change the result. Hence a free choice of the fastest way: small kernels are summed, large ones go
tile by tile through the frequency domain (overlap-save, Stockham 1966), where a tile of light is transformed once for
all kernels, and a kernel that a tile does not need costs nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.degradations.exact.psf import UNIT, Kernel
from cea.degradations.exact.transfer import Codes

_DIRECT = 7 * 7
"""Kernels of up to this many weights are summed directly; OpenCV does so up to here, and it is faster."""

_CACHED = 320
"""Square transforms up to this side fit the second-level cache; beyond it a value takes up to three times as long."""

_SIZES = sorted(2**a * 3**b * 5**c for a, b, c in itertools.product(range(1, 13), range(6), range(4)))
"""Sides that transform fast."""


def convolve(light: NDArray[np.float64], kernel: Kernel) -> NDArray[np.float64]:
    """Convolve integer-valued ``light`` ((H, W), below 2^25) with ``kernel``, mirrored at the borders.

    Returns:
        The exact sums, ``UNIT`` times the weighted means, as integers in float64.
    """
    return np.rint(_filter(light, kernel))


def convolve_codes(light: Codes, kernel: Kernel) -> Codes:
    """Convolve 16-bit ``light`` (H, W, C) with ``kernel``; rounded to 16-bit codes, half up, planar in memory."""
    blurred = np.empty((light.shape[2], *light.shape[:2]), np.uint16).transpose(1, 2, 0)
    for tile in tiles(light, [kernel]):
        blurred[tile.rows, tile.columns] = tile.through(0)
    return blurred


@dataclass(frozen=True)
class Tile:
    """A part of an image, ready to be seen through any of several kernels.

    Attributes:
        rows: which rows of the image.
        columns: which columns.
    """

    rows: slice
    columns: slice
    _light: Codes
    _kernels: _Kernels

    def through(self, index: int) -> Codes:
        """The light of this tile convolved with that kernel; (h, w, C) codes, rounded half up, planar in memory."""
        kernel = self._kernels.all[index]
        planes = self._summed(kernel) if kernel.size <= _DIRECT else self._by_spectrum(index)
        return np.stack([_rounded(self._inner(plane)) for plane in planes]).transpose(1, 2, 0)

    def _summed(self, kernel: Kernel) -> Iterator[NDArray[np.float64]]:
        for plane in self._light.transpose(2, 0, 1):
            yield _filter(plane.astype(np.float64), kernel)

    def _by_spectrum(self, index: int) -> Iterator[NDArray[np.float64]]:
        for spectrum in self._spectra:
            yield np.fft.irfft2(spectrum * self._kernels.spectrum(index), self._kernels.transform)

    @cached_property
    def _spectra(self) -> list[NDArray[np.complex128]]:
        return [np.fft.rfft2(plane.astype(np.float64)) for plane in self._light.transpose(2, 0, 1)]

    def _inner(self, padded: NDArray[np.float64]) -> NDArray[np.float64]:
        margin, rows, columns = self._kernels.margin, self.rows, self.columns
        return padded[margin : margin + rows.stop - rows.start, margin : margin + columns.stop - columns.start]


class _Kernels:
    """Kernels with a common margin, and their spectra, computed on first use."""

    def __init__(self, kernels: Sequence[Kernel], shape: tuple[int, ...]) -> None:
        self.all = kernels
        self.margin = max(len(kernel) // 2 for kernel in kernels)
        self.tile, self.transform = zip(*(_cut(length, self.margin) for length in shape[:2]), strict=True)
        self._spectra: dict[int, NDArray[np.complex128]] = {}

    def spectrum(self, index: int) -> NDArray[np.complex128]:
        if index not in self._spectra:
            half = len(self.all[index]) // 2
            padded = np.zeros(self.transform)
            padded[: 2 * half + 1, : 2 * half + 1] = self.all[index]
            self._spectra[index] = np.fft.rfft2(np.roll(padded, (-half, -half), (0, 1)))
        return self._spectra[index]


def tiles(light: Codes, kernels: Sequence[Kernel]) -> Iterator[Tile]:
    """Cut 16-bit ``light`` (H, W, C) into tiles that can be convolved with ``kernels``, mirrored at the borders."""
    plan = _Kernels(kernels, light.shape)
    padded = _mirrored(light, plan)
    height, width = light.shape[:2]
    for top in range(0, height, plan.tile[0]):
        for left in range(0, width, plan.tile[1]):
            rows = slice(top, min(top + plan.tile[0], height))
            columns = slice(left, min(left + plan.tile[1], width))
            around = padded[top : top + plan.transform[0], left : left + plan.transform[1]]
            yield Tile(rows, columns, around, plan)


def _mirrored(light: Codes, plan: _Kernels) -> Codes:
    """``light`` with a margin reflected at the borders, filled up so that all tiles are whole; planar in memory."""
    margin, ends = plan.margin, []
    for length, tile, size in zip(light.shape, plan.tile, plan.transform, strict=False):
        ends.append((length - 1) // tile * tile + size - margin - length)
    planes = [np.ascontiguousarray(light[..., c]) for c in range(light.shape[2])]
    border = (margin, ends[0], margin, ends[1], cv2.BORDER_REFLECT_101)
    return np.asarray([cv2.copyMakeBorder(plane, *border) for plane in planes], np.uint16).transpose(1, 2, 0)


def _cut(length: int, margin: int) -> tuple[int, int]:
    """The side of the tiles to cut ``length`` into, and that of their transforms, for the least work."""

    def work(count: int) -> int:
        size = _fast(-(-length // count) + 2 * margin)
        return count * (size + 16) * (1 if size <= _CACHED else 2)

    tile = -(-length // min(range(1, 2 + length // 64), key=work))
    return tile, _fast(tile + 2 * margin)


def _fast(length: int) -> int:
    return next((size for size in _SIZES if size >= length), length)


def _rounded(sums: NDArray[np.float64]) -> Codes:
    scaled = sums * (1 / UNIT)
    # A quarter of a unit keeps the exact sums clear of the boundary that rounding would otherwise sit on.
    scaled += 0.5 + 0.25 / UNIT
    return scaled.astype(np.uint16)


def _filter(light: NDArray[Any], kernel: Kernel) -> NDArray[np.float64]:
    # OpenCV correlates: turning the kernel makes it a convolution, so that a point is blurred into the PSF itself.
    turned = np.ascontiguousarray(kernel[::-1, ::-1])
    result = cv2.filter2D(light, cv2.CV_64F, turned, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(result, np.float64).reshape(light.shape)
