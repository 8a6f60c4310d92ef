"""Point spread functions and exact convolution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve as reference

from cea.degradations import psf
from cea.degradations.motion_blur import trajectory
from cea.rng import generator

KERNELS = {
    "disc": psf.disc(3.7),
    "small disc": psf.disc(0.4),
    "gaussian": psf.gaussian(4.0, 1.5, 0.6),
    "trajectory": psf.trace(trajectory(generator(1), 0.5) * 40),
    "point": psf.trace(np.zeros(5, np.complex128)),
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_psf_sums_to_one_exactly(kernel):
    assert kernel.sum() == psf.UNIT
    assert (kernel >= 0).all()
    assert (kernel == np.rint(kernel)).all()
    assert kernel.shape[0] == kernel.shape[1]
    assert kernel.shape[0] % 2 == 1


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_psf_is_centred(kernel):
    half = kernel.shape[0] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    centre = np.array([(kernel * y).sum(), (kernel * x).sum()]) / psf.UNIT
    np.testing.assert_allclose(centre, 0, atol=0.01)


@given(length=st.floats(0.1, 150), shake=st.floats(0, 1), seed=st.integers(0, 2**63))
@settings(max_examples=25, deadline=None)
def test_any_trajectory_makes_a_valid_psf(length, shake, seed):
    kernel = psf.trace(trajectory(generator(seed), shake) * length)
    assert kernel.sum() == psf.UNIT
    assert (kernel >= 0).all()


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_a_point_is_blurred_into_the_psf(kernel):
    size = 2 * kernel.shape[0] + 3
    light = np.zeros((size, size, 3), np.uint16)
    light[size // 2, size // 2] = 60000
    blurred = psf.convolve_codes(light, kernel)
    half = kernel.shape[0] // 2
    window = slice(size // 2 - half, size // 2 + half + 1)
    np.testing.assert_array_equal(blurred[window, window, 1], np.floor(kernel * 60000 / psf.UNIT + 0.5))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_mean_is_conserved(kernel):
    light = np.full((90, 80, 3), 20000, np.uint16)
    light[40:50, 40:50] = 50000  # far enough from the borders for every kernel here
    blurred = psf.convolve_codes(light, kernel)
    assert abs(float(blurred.mean()) - float(light.mean())) < 0.5
    assert (psf.convolve_codes(np.full((9, 9, 3), 777, np.uint16), kernel) == 777).all()


@pytest.mark.parametrize("name", ["disc", "gaussian", "trajectory"])
@pytest.mark.parametrize("shape", [(70, 65), (64, 91)])
def test_convolution_agrees_with_scipy(name, shape):
    light = generator(3).integers(0, 65536, (*shape, 3)).astype(np.uint16)
    expected = [reference(light[..., c].astype(np.float64), KERNELS[name], mode="mirror") for c in range(3)]
    expected = np.floor(np.stack(expected, axis=2) / psf.UNIT + 0.5)
    np.testing.assert_array_equal(psf.convolve_codes(light, KERNELS[name]), expected)


def test_disc_has_the_radius_it_says():
    for radius in (2.0, 3.5, 8.0):
        kernel = psf.disc(radius)
        half = kernel.shape[0] // 2
        x = np.arange(-half, half + 1)
        variance = (kernel.sum(axis=0) * x * x).sum() / psf.UNIT
        # A uniform disc has r^2 / 4 along each axis, the pixels it is sampled with 1 / 12.
        assert abs(variance - radius**2 / 4 - 1 / 12) < 0.1


def test_gaussian_has_the_widths_it_says():
    kernel = psf.gaussian(4.0, 2.0, 0.0)
    half = kernel.shape[0] // 2
    x = np.arange(-half, half + 1)
    assert abs(np.sqrt((kernel.sum(axis=0) * x * x).sum() / psf.UNIT) - 4.0) < 0.1
    assert abs(np.sqrt((kernel.sum(axis=1) * x * x).sum() / psf.UNIT) - 2.0) < 0.1


def test_trajectory_has_length_one_and_shake_bends_it():
    straight, bent = (trajectory(generator(4), shake) for shake in (0.0, 1.0))
    for path in (straight, bent):
        assert abs(np.abs(np.diff(path)).sum() - 1) < 1e-9
    assert abs(abs(straight[-1] - straight[0]) - 1) < 1e-9
    assert abs(bent[-1] - bent[0]) < 0.9
