"""Exact convolution, whole and tile by tile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve as reference

from cea.degradations.contract import strength
from cea.degradations.contract.base import Context
from cea.degradations.exact import convolution, psf, transfer
from cea.degradations.exact.convolution import convolve_codes, tiles
from cea.degradations.families.motion_blur import LEVELS, MotionBlur, MotionBlurParams, MotionBlurRanges, trajectory
from cea.rng import generator
from cea.testing.degradations import picture, scene_maps
from tests.blur_kernels import KERNELS


def light_of(shape: tuple[int, int], seed: int = 3) -> transfer.Codes:
    return generator(seed).integers(0, 65536, (*shape, 3)).astype(np.uint16)


def expected(light: transfer.Codes, kernel: psf.Kernel) -> np.ndarray:
    """SciPy's sums of integers in float64, which are exact."""
    sums = [reference(light[..., c].astype(np.float64), kernel, mode="mirror") for c in range(light.shape[2])]
    return np.floor(np.stack(sums, axis=2) / psf.UNIT + 0.5)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_a_point_is_blurred_into_the_psf(kernel):
    size = 2 * kernel.shape[0] + 3
    light = np.zeros((size, size, 3), np.uint16)
    light[size // 2, size // 2] = 60000
    half = kernel.shape[0] // 2
    window = slice(size // 2 - half, size // 2 + half + 1)
    found = convolve_codes(light, kernel)[window, window, 1]
    np.testing.assert_array_equal(found, np.floor(kernel * 60000 / psf.UNIT + 0.5))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_mean_is_conserved(kernel):
    light = np.full((90, 80, 3), 20000, np.uint16)
    light[40:50, 40:50] = 50000  # far enough from the borders for every kernel here
    assert abs(float(convolve_codes(light, kernel).mean()) - float(light.mean())) < 0.5
    assert (convolve_codes(np.full((9, 9, 3), 777, np.uint16), kernel) == 777).all()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", [(70, 65), (64, 91), (1, 7), (3, 2)])
def test_agrees_with_scipy(name, shape):
    light = light_of(shape)
    np.testing.assert_array_equal(convolve_codes(light, KERNELS[name]), expected(light, KERNELS[name]))


def test_tiles_cover_the_image_once_and_hide_their_seams():
    light, kernels = light_of((410, 530)), [KERNELS["small disc"], KERNELS["trajectory"], KERNELS["disc"]]
    seen = np.zeros(light.shape[:2], int)
    wholes = [expected(light, kernel) for kernel in kernels]
    for tile in tiles(light, kernels):
        seen[tile.rows, tile.columns] += 1
        for index, whole in enumerate(wholes):
            np.testing.assert_array_equal(tile.through(index), whole[tile.rows, tile.columns])
    assert (seen == 1).all()
    assert len(list(tiles(light, kernels))) > 1


def test_the_error_of_the_transform_is_far_below_what_rounding_takes_away(monkeypatch):
    """The worst case: white light of full range, and a kernel whose weight sits in one place."""
    sharp = np.zeros((61, 61))
    sharp[30, 30], sharp[0, 0] = psf.UNIT - 1, 1
    sums: list[np.ndarray] = []
    rounded = convolution._rounded
    monkeypatch.setattr(convolution, "_rounded", lambda plane: rounded(sums.append(plane) or plane))
    for kernel in (sharp, KERNELS["trajectory"]):
        convolve_codes(light_of((700, 900)), kernel)
    assert max(float(np.abs(plane - np.rint(plane)).max()) for plane in sums) < 0.05  # a quarter is allowed


@given(height=st.integers(1, 90), width=st.integers(1, 90), length=st.floats(0, 120), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_any_size_agrees_with_scipy(height, width, length, seed):
    light, kernel = light_of((height, width), seed), psf.trace(trajectory(generator(seed), 0.4) * length)
    np.testing.assert_array_equal(convolve_codes(light, kernel), expected(light, kernel))


def test_uneven_motion_blur_is_between_whole_images_of_each_level():
    image, params = picture((300, 420)), MotionBlurParams(length_px=30, shake=0.3)
    share = np.repeat(np.linspace(0, 1, 420, dtype=np.float32)[None], 300, axis=0)
    found = MotionBlur(MotionBlurRanges()).apply(image, params, Context(scene_maps((300, 420)), 3, share)).image
    path = trajectory(generator(3), params.shake) * params.length_px
    levels = [lambda: image]
    for level in range(1, LEVELS + 1):
        kernel = psf.trace(path * (level / LEVELS))
        light = expected(transfer.linear_codes(image), kernel).astype(np.uint16)
        levels.append(lambda light=light: transfer.encoded_codes(light))
    np.testing.assert_array_equal(found, strength.between(levels, share * np.float32(LEVELS)))
