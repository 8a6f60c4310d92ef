"""The PNG encoder: every decoder reads back the pixels, and the bytes are pinned."""

from __future__ import annotations

import hashlib
import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cea.data import png
from cea.io.images import decode_png, encode_png
from cea.rng import generator


def noisy(shape: tuple[int, ...], spread: int = 256) -> np.ndarray:
    return generator(4).integers(0, spread, shape).astype(np.uint8)


def photograph(height: int = 300, width: int = 400) -> np.ndarray:
    """Smooth colours and a little noise."""
    smooth = cv2.resize(noisy((8, 9, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth.astype(int) + generator(5).integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)


def decoded(data: bytes) -> list[np.ndarray]:
    """By libpng through OpenCV, and by Pillow."""
    return [decode_png(data), np.asarray(Image.open(io.BytesIO(data)))]


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([0, 3]),
    spread=st.sampled_from([1, 2, 3, 17, 256]),
)
@settings(max_examples=60, deadline=None)
def test_any_image_comes_back(height, width, channels, spread):
    image = noisy((height, width, channels)[: 3 if channels else 2], spread)
    for again in decoded(png.encode(image)):
        np.testing.assert_array_equal(again, image)


@pytest.mark.parametrize(
    "image",
    [photograph(), noisy((700, 900, 3)), photograph()[..., 0], photograph()[:, ::2], np.zeros((50, 60, 3), np.uint8)],
    ids=["photograph", "several blocks of noise", "grey", "not contiguous", "black"],
)
def test_decoders_agree(image):
    for again in decoded(png.encode(image)):
        np.testing.assert_array_equal(again, image)


def test_bytes_are_pinned():
    """Shards are byte-identical on every run and machine: a change here changes them all."""
    slope = np.add.outer(np.arange(64), np.arange(240)).reshape(64, 80, 3) // 2
    image = (slope + generator(7).integers(0, 30, slope.shape)).astype(np.uint8)
    found = hashlib.sha256(png.encode(image)).hexdigest()
    assert found == "35af2c9ea5737b7a6e176a39d8e5ba24884d983a607f7c57dceca9a4c16cb60a"


def test_a_photograph_is_not_larger_than_opencv_makes_it_and_a_map_stays_small():
    image = photograph(720, 1080)
    fastest = (
        cv2.IMWRITE_PNG_FILTER,
        cv2.IMWRITE_PNG_FILTER_AVG,
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_STRATEGY_RLE,
    )
    assert len(png.encode(image)) < 1.02 * len(cv2.imencode(".png", image, fastest)[1])
    assert len(png.encode(np.full((512, 256), 200, np.uint8))) < 1500


def test_sixteen_bits_come_back():
    deep = generator(6).integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    np.testing.assert_array_equal(decode_png(encode_png(deep)), deep)


def test_codes_are_prefix_free_complete_and_short_for_the_most_lopsided_counts():
    fibonacci = [1, 1]
    while len(fibonacci) < 30:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = png.code_lengths(np.array([*fibonacci, 0, 5]))
    assert lengths.max() <= 13
    assert lengths[30] == 0
    assert (2.0 ** -lengths[lengths > 0]).sum() == 1.0


def test_codes_are_optimal():
    counts = np.array([45, 13, 12, 16, 9, 5])  # the example of Cormen et al., Introduction to Algorithms: 224 bits
    assert (counts * png.code_lengths(counts)).sum() == 224
