"""SSIM against scikit-image, and the properties its definition promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from cea.errors import ImageError
from cea.metrics.ssim import ssim

GAUSSIANS = {
    "gaussian": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    "gaussian-sample": {"gaussian_weights": True},
}


def pair(shape, dtype, seed=0):
    """A smooth image and a noisy copy of it: SSIM well inside (0, 1)."""
    generator = np.random.default_rng(seed)
    ramp = np.add.outer(np.linspace(0, 0.6, shape[0]), np.linspace(0, 0.4, shape[1]))
    clean = np.broadcast_to(ramp.reshape(ramp.shape + (1,) * (len(shape) - 2)), shape)
    clean = np.clip(clean + 0.05 * generator.standard_normal(shape), 0, 1)
    noisy = np.clip(clean + 0.1 * generator.standard_normal(shape), 0, 1)
    if not dtype.startswith("uint"):
        return clean.astype(dtype), noisy.astype(dtype)
    top = np.iinfo(dtype).max
    return (clean * top).astype(dtype), (noisy * top).astype(dtype)


def reference(a, b, **options):
    as_float = [x / np.iinfo(x.dtype).max if x.dtype.kind == "u" else x.astype(np.float64) for x in (a, b)]
    axis = -1 if a.ndim == 3 else None
    return structural_similarity(*as_float, data_range=1, channel_axis=axis, **options)


@pytest.mark.parametrize("shape", [(7, 7, 3), (8, 60, 3), (39, 11, 3), (38, 38, 3), (101, 70), (150, 20, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_uniform_window_equals_scikit_image(shape, dtype):
    a, b = pair(shape, dtype)
    value = ssim(a, b)
    assert value == pytest.approx(reference(a, b), abs=1e-6)
    assert 0.02 < value < 0.98


@pytest.mark.parametrize("window", GAUSSIANS)
@pytest.mark.parametrize("shape", [(11, 11, 3), (12, 60, 3), (43, 70), (75, 20, 3)])
def test_gaussian_windows_equal_scikit_image(window, shape):
    a, b = pair(shape, "uint8")
    assert ssim(a, b, window) == pytest.approx(reference(a, b, **GAUSSIANS[window]), abs=1e-6)


def test_the_three_windows_are_three_numbers():
    a, b = pair((60, 70, 3), "uint8")
    values = sorted(ssim(a, b, window) for window in ("uniform", "gaussian", "gaussian-sample"))
    assert values[1] - values[0] > 1e-5 < values[2] - values[1]


@settings(max_examples=30, deadline=None)
@given(st.integers(7, 90), st.integers(7, 40), st.floats(0, 0.5), st.integers(0, 2**32 - 1))
def test_any_size_and_noise_equals_scikit_image(height, width, strength, seed):
    generator = np.random.default_rng(seed)
    a = generator.uniform(0, 1, (height, width, 3)).astype(np.float32)
    b = np.clip(a + strength * generator.standard_normal(a.shape), 0, 1).astype(np.float32)
    assert ssim(a, b) == pytest.approx(reference(a, b), abs=1e-6)


def test_flat_images_follow_the_luminance_term():
    # No variance: SSIM = (2 xy + C1) / (x^2 + y^2 + C1) with C1 = 1e-4.
    a, b = np.full((9, 9, 3), 0.4), np.full((9, 9, 3), 0.6)
    assert ssim(a, b) == pytest.approx((2 * 0.24 + 1e-4) / (0.16 + 0.36 + 1e-4), abs=1e-12)


def test_symmetric_and_one_for_equal_images():
    a, b = pair((40, 50, 3), "uint8")
    assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-12)
    assert ssim(a, a.copy()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "window", "says"),
    [
        (np.zeros((6, 40, 3)), np.zeros((6, 40, 3)), "uniform", "40x6 .*at least 7x7"),
        (np.zeros((40, 10, 3)), np.zeros((40, 10, 3)), "gaussian", "at least 11x11"),
        (np.zeros((40, 40, 3)), np.zeros((40, 41, 3)), "uniform", "equal shapes"),
        (np.zeros((9, 9, 3), bool), np.zeros((9, 9, 3), bool), "uniform", "dtype bool"),
        (np.zeros((9, 9, 3)), np.full((9, 9, 3), np.inf), "uniform", "infinity"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, window, says):
    with pytest.raises(ImageError, match=says):
        ssim(a, b, window)
