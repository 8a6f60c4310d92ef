"""JPEG, WebP and resizing."""

from __future__ import annotations

import numpy as np
import pytest

from cea.degradations.contract.base import Context
from cea.degradations.families import jpeg, webp
from cea.degradations.families.resize import Resize, ResizeParams, ResizeRanges
from cea.errors import ImageError
from cea.levels import to_uint8
from cea.testing.degradations import context, picture, scene_maps

QUALITIES = (10, 20, 35, 50, 65, 80, 95)


def mse(a, b):
    return float(((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean())


@pytest.mark.parametrize("chroma", ["420", "444"])
def test_jpeg_error_falls_with_quality(chroma):
    image = to_uint8(picture((128, 160)))
    errors = [mse(jpeg.round_trip(image, quality, chroma), image) for quality in QUALITIES]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2 * errors[-1]


def test_webp_error_falls_with_quality():
    image = to_uint8(picture((128, 160)))
    errors = [mse(webp.round_trip(image, quality), image) for quality in QUALITIES]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2 * errors[-1]


def test_jpeg_keeps_the_channels_apart():
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 200  # a red surface must come back red, not blue
    coded = jpeg.round_trip(image, 90, "444")
    assert np.abs(coded.astype(int) - image).max() < 6


def test_chroma_subsampling_costs_colour():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::2, 0] = 220
    image[:, 1::2, 2] = 220
    assert mse(jpeg.round_trip(image, 95, "420"), image) > 3 * mse(jpeg.round_trip(image, 95, "444"), image)


def test_jpeg_works_in_blocks_of_eight():
    image = to_uint8(picture((64, 64)))
    changed = image.copy()
    changed[18, 18] ^= 0x40
    difference = np.abs(jpeg.round_trip(image, 80, "444").astype(int) - jpeg.round_trip(changed, 80, "444"))
    rows, columns = np.nonzero(difference.max(axis=2))
    assert {rows.min() // 8, rows.max() // 8, columns.min() // 8, columns.max() // 8} == {2}


@pytest.mark.parametrize(("module", "side"), [(jpeg, 65501), (webp, 16384)])
def test_formats_say_what_they_cannot_hold(module, side):
    image = np.zeros((1, side, 3), np.uint8)
    with pytest.raises(ImageError, match=f"{side}x1 pixels"):
        module.round_trip(image, 50, "420") if module is jpeg else module.round_trip(image, 50)


def test_resizing_removes_what_lies_beyond_the_new_nyquist_and_keeps_the_rest():
    x = np.arange(120)
    fine, coarse = (0.5 + 0.3 * np.sin(2 * np.pi * x / period) for period in (3, 40))
    family = Resize(ResizeRanges())
    for wave, least, most in ((fine, 0.0, 0.3), (coarse, 0.85, 1.05)):
        image = np.broadcast_to(wave[None, :, None], (60, 120, 3)).astype(np.float32)
        result = family.apply(image, ResizeParams(factor=4, down="area", up="bicubic"), context((60, 120))).image
        assert least <= result[:, 20:-20].std() / image[:, 20:-20].std() <= most


@pytest.mark.parametrize("down", ["area", "bilinear", "bicubic"])
@pytest.mark.parametrize("up", ["bilinear", "bicubic", "nearest"])
def test_resizing_keeps_constants(down, up):
    image = np.full((37, 53, 3), 0.3, np.float32)
    result = Resize(ResizeRanges()).apply(image, ResizeParams(factor=2.7, down=down, up=up), context((37, 53)))
    np.testing.assert_allclose(result.image, 0.3, atol=1e-6)


def test_resizing_in_a_field_is_sharp_where_weak():
    image = picture((64, 96))
    strength = np.repeat(np.linspace(0, 1, 96, dtype=np.float32)[None], 64, axis=0)
    params = ResizeParams(factor=6, down="area", up="bilinear")
    result = Resize(ResizeRanges()).apply(image, params, Context(scene_maps((64, 96)), 1, strength)).image
    np.testing.assert_array_equal(result[:, 0], image[:, 0])
    error = np.abs(result - image).mean(axis=(0, 2))
    assert error[:24].mean() < 0.5 * error[-24:].mean()
