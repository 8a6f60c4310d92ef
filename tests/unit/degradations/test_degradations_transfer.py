"""Linear light and the helpers around it."""

from __future__ import annotations

import numpy as np
import pytest

from cea.degradations.contract import strength
from cea.degradations.exact import transfer
from cea.degradations.exact.channels import per_channel
from cea.rng import generator


def test_curve_is_srgb_on_hand_computed_levels():
    image = np.array([[[0.0, 0.04, 0.5]]], np.float32)
    expected = [0.0, 0.04 / 12.92, ((0.5 + 0.055) / 1.055) ** 2.4]  # IEC 61966-2-1
    np.testing.assert_allclose(transfer.linear(image)[0, 0], expected, atol=2e-5)


@pytest.mark.parametrize("planar", [False, True])
def test_there_and_back_is_less_than_a_tenth_of_a_level(planar):
    image = generator(1).random((40, 30, 3), dtype=np.float32)
    if planar:
        image = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    for back in (transfer.encoded(transfer.linear(image)), transfer.encoded_codes(transfer.linear_codes(image))):
        assert np.abs(back - image).max() < 0.1 / 255
        assert back.shape == image.shape


def test_values_outside_the_range_saturate():
    image = np.array([[[-0.5, 1.5, 7.0]]], np.float32)
    np.testing.assert_array_equal(transfer.linear(image)[0, 0], [0, 1, 1])


def test_halving_takes_means_and_doubling_keeps_them():
    plane = generator(2).integers(0, 65536, (6, 8)).astype(np.uint16)
    half = transfer.halved(plane)
    np.testing.assert_allclose(half, plane.reshape(3, 2, 4, 2).mean(axis=(1, 3)), atol=0.51)
    assert transfer.halved(plane[:5, :7]).shape == (3, 4)
    assert transfer.doubled(half).shape == plane.shape
    assert (transfer.doubled(np.full((3, 4), 9, np.uint16)) == 9).all()


def test_each_works_channel_by_channel():
    image = generator(3).random((5, 7, 3))
    np.testing.assert_array_equal(per_channel(np.fliplr, image), image[:, ::-1])


def test_between_interpolates_and_skips_unneeded_levels():
    made = []

    def level(value):
        def make():
            made.append(value)
            return np.full((1, 3, 3), value, np.float32)

        return make

    position = np.array([[0.0, 0.25, 1.0]], np.float32)
    result = strength.between([level(0.0), level(1.0), level(5.0)], position)
    np.testing.assert_allclose(result[0, :, 0], [0.0, 0.25, 1.0])
    assert made == [0.0, 1.0]


def test_constant_recognises_even_maps():
    assert strength.constant(None) == 1.0
    assert strength.constant(np.full((2, 2), 0.25, np.float32)) == 0.25
    assert strength.constant(np.array([[0.0, 1.0]], np.float32)) is None
