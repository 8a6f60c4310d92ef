"""Point spread functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cea.degradations.exact import psf
from cea.degradations.families.motion_blur import trajectory
from cea.rng import generator
from tests.blur_kernels import KERNELS


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
