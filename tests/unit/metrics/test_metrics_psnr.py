"""PSNR against scikit-image and against arithmetic done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from cea.errors import ImageError
from cea.metrics.psnr import mean_squared_error, psnr


def test_three_pixels_by_hand():
    a = np.array([[[0, 0, 0], [255, 255, 255], [0, 0, 0]]], dtype=np.uint8)
    b = np.array([[[0, 0, 0], [255, 255, 204], [51, 0, 0]]], dtype=np.uint8)
    # Two of nine samples differ by 51/255 = 1/5: MSE = 2 * (1/25) / 9 = 2/225.
    assert mean_squared_error(a, b) == pytest.approx(2 / 225, rel=1e-14)
    assert psnr(a, b) == pytest.approx(10 * math.log10(225 / 2), rel=1e-14)


def test_a_step_of_a_tenth_is_twenty_decibels():
    assert psnr(np.full((4, 5, 3), 0.5), np.full((4, 5, 3), 0.6)) == pytest.approx(20.0, abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 300, 3), (64, 64, 3), (65, 33, 3), (130, 17), (200, 50, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_equals_scikit_image(shape, dtype):
    generator = np.random.default_rng(len(shape) * shape[0])
    if dtype.startswith("uint"):
        top = np.iinfo(dtype).max
        a, b = (generator.integers(0, top + 1, shape, dtype=dtype) for _ in range(2))
        reference = peak_signal_noise_ratio(a, b, data_range=top)
    else:
        a, b = (generator.uniform(0, 1, shape).astype(dtype) for _ in range(2))
        reference = peak_signal_noise_ratio(a, b, data_range=1)
    assert psnr(a, b) == pytest.approx(reference, abs=1e-6)


def test_mixed_dtypes_and_views():
    generator = np.random.default_rng(3)
    a = generator.integers(0, 256, (90, 80, 3), dtype=np.uint8)[::2, 5:70]
    b = generator.uniform(0, 1, (45, 65, 3)).astype(np.float32)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a / 255, b.astype(float), data_range=1), abs=1e-9)
    assert psnr(a, b) == psnr(b, a)


def test_equal_images_are_infinitely_good():
    image = np.random.default_rng(0).integers(0, 256, (70, 9, 3), dtype=np.uint8)
    assert psnr(image, image.copy()) == math.inf
    assert psnr(image, image / 255) == math.inf


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (np.zeros((4, 5, 3)), np.zeros((5, 4, 3)), r"\(4, 5, 3\) and \(5, 4, 3\)"),
        (np.zeros((4, 5, 3)), np.zeros((4, 5)), "equal shapes"),
        (np.zeros((0, 5, 3)), np.zeros((0, 5, 3)), "5x0"),
        (np.zeros((4, 5, 3), int), np.zeros((4, 5, 3), int), "dtype int64"),
        (np.full((4, 5, 3), np.nan), np.zeros((4, 5, 3)), "NaN"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, says):
    with pytest.raises(ImageError, match=says):
        psnr(a, b)
