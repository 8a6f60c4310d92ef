"""Tables, normal numbers and particles: exact where they must be, right where they claim to be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cea.degradations.contract.base import Context, Scene
from cea.degradations.exact.elementary import cos_sin, exp, log, lookup, power, table
from cea.degradations.exact.normal import noise_planes, normal_table, random_bits, standard_normal
from cea.degradations.exact.particles import smear, specks, tapered
from cea.degradations.families.noise import Noise, NoiseParams


def test_exp_log_power_agree_with_libm() -> None:
    x = np.linspace(-50, 50, 4001)
    np.testing.assert_allclose(exp(x), np.exp(x), rtol=2e-14)
    positive = np.geomspace(1e-12, 1e12, 4001)
    np.testing.assert_allclose(log(positive), np.log(positive), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(power(positive, 1.7), positive**1.7, rtol=1e-13)


@pytest.mark.parametrize("degrees", [-720.0, -135.0, -33.3, 0.0, 17.0, 45.0, 90.0, 180.0, 359.0])
def test_cos_sin(degrees: float) -> None:
    expected = (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
    np.testing.assert_allclose(cos_sin(degrees), expected, atol=1e-13)
    assert cos_sin(90.0) == (0.0, 1.0) or cos_sin(90.0)[0] == 0.0


def test_lookup_hits_its_entries_and_clips() -> None:
    entries = table(lambda x: x * x, 2.0, entries=2001)
    values = np.array([[0.0, 1.0, 2.0, 5.0, -1.0]], np.float32)
    np.testing.assert_allclose(lookup(entries, values, 2.0), [[0, 1, 4, 4, 0]], rtol=1e-6)


@pytest.mark.parametrize("reach", [0.0, 0.7, 1.0, 1.9999, 2.0])
def test_a_table_cut_short_is_the_beginning_of_the_whole(reach: float) -> None:
    short, whole = table(exp, 2.0, reach), table(exp, 2.0)
    np.testing.assert_array_equal(short, whole[: len(short)])
    assert round(reach * (len(whole) - 1) / 2) < len(short)


def test_normal_numbers_have_the_moments_of_a_normal() -> None:
    numbers = standard_normal(11, (2_000_003,)).astype(np.float64)
    assert abs(numbers.mean()) < 4 / math.sqrt(2e6)
    assert numbers.var() == pytest.approx(1, abs=4 * math.sqrt(2 / 2e6))
    assert (numbers**3).mean() == pytest.approx(0, abs=4 * math.sqrt(15 / 2e6))
    assert (numbers**4).mean() == pytest.approx(3, abs=4 * math.sqrt(96 / 2e6))
    assert normal_table().max() > 4.2


def test_noise_is_white_and_independent_between_channels_and_streams() -> None:
    noise = noise_planes(5, 500, 600).astype(np.float64)
    bound = 5 / math.sqrt(500 * 600)
    for shifted in (np.roll(noise, 1, 0), np.roll(noise, 1, 1), np.roll(noise, 1, 2), noise_planes(6, 500, 600)):
        assert abs((noise * shifted).mean()) < bound


def test_a_part_of_the_stream_is_the_stream_s_part() -> None:
    whole = random_bits(9, 200_000)
    for start, count in ((0, 5), (3, 10), (70_001, 65_537), (199_999, 1)):
        np.testing.assert_array_equal(random_bits(9, count, start), whole[start : start + count])


def test_added_noise_is_the_documented_field() -> None:
    image = np.full((90, 1000, 3), 0.5, np.float32)
    context = Context(Scene(np.zeros((90, 1000), np.float32), np.ones((90, 1000), np.float32)), stream=4)
    noisy = Noise(Noise.Ranges()).apply(image, NoiseParams(sigma_255=25.5), context).image
    np.testing.assert_allclose(noisy, image + np.float32(0.1) * noise_planes(4, 90, 1000), atol=1e-6)


@pytest.mark.parametrize("density", [0.0, 0.001, 0.2, 1.0])
def test_specks_have_their_density_and_uniform_brightness(density: float) -> None:
    points = specks((600, 700), 3, density)
    share = (points > 0).mean()
    assert share == pytest.approx(density, abs=4 * math.sqrt(max(density * (1 - density), 1e-9) / points.size) + 1e-5)
    if density:
        bright = points[points > 0]
        assert bright.mean() == pytest.approx(128, abs=5 * 74 / math.sqrt(len(bright)))


@pytest.mark.parametrize("steps", [1, 2, 7, 32, 45])
@pytest.mark.parametrize("angle", [-50.0, 0.0, 20.0, 90.0])
def test_smear_conserves_light_and_runs_the_right_way(steps: int, angle: float) -> None:
    point = np.zeros((301, 301), np.uint16)
    point[150, 150] = 200
    streak = smear(point, steps, angle).astype(np.int64)
    assert streak.sum() == 200 * steps
    rows, columns = np.nonzero(streak)
    weights = streak[rows, columns]
    centre = np.array([(rows * weights).sum(), (columns * weights).sum()]) / weights.sum() - 150
    direction = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    assert np.abs(centre - direction * (steps - 1) / 2).max() < 1.6


def test_tapered_streaks_swell_and_fade() -> None:
    point = np.zeros((80, 5), np.uint16)
    point[10, 2] = 100
    profile = tapered(point, 20, 0.0)[10:30, 2]
    assert profile.max() == 100 * 10
    assert profile[0] == profile[19] == 100
