"""Low light, haze, rain and snow: their equations, by hand, and how their layers look in numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cea.degradations.contract.base import Context, Degradation, Scene
from cea.degradations.families.haze import Haze, HazeParams, distance, transmit, veil
from cea.degradations.families.lowlight import LowLight, LowLightParams, gain_of, illumination
from cea.degradations.families.rain import Rain, RainParams, Streaks, rain_layer
from cea.degradations.families.snow import Snow, cover, snow_mask
from cea.rng import generator

FAMILIES: tuple[type[Degradation[Any, Any]], ...] = (LowLight, Haze, Rain, Snow)


def _photo(height: int = 60, width: int = 80) -> np.ndarray:
    return generator(1).random((height, width, 3)).astype(np.float32)


def _context(height: int = 60, width: int = 80, strength: np.ndarray | None = None) -> Context:
    depth = np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, 1)
    return Context(Scene(depth, np.full((height, width), 0.6, np.float32)), 77, strength)


def test_transmission_and_veil_on_three_pixels_by_hand() -> None:
    # d = .2, .5, .7 at beta 1.5: t = e^-.3, e^-.75, e^-1.05; A = .8; J = .1, .5, 1
    thickness = np.array([[0.2, 0.5, 0.7]], np.float32)
    t = transmit(thickness, 1.5)
    np.testing.assert_allclose(t, [[0.740818, 0.472367, 0.349938]], atol=1e-4)
    image = np.array([[[0.1] * 3, [0.5] * 3, [1.0] * 3]], np.float32)
    expected = [0.1 * 0.740818 + 0.8 * 0.259182, 0.5 * 0.472367 + 0.8 * 0.527633, 0.349938 + 0.8 * 0.650062]
    np.testing.assert_allclose(veil(image, t, 0.8)[0, :, 1], expected, atol=1e-4)


def test_haze_thickens_with_distance_up_to_the_cap() -> None:
    applied = Haze(Haze.Ranges()).apply(_photo(), HazeParams(beta=1.5, airlight_rgb=[0.8, 0.7, 0.6]), _context())
    down = applied.labels["transmission"][:, 40]
    assert (np.diff(down) >= 0).all()
    assert down[0] == pytest.approx(math.exp(-1.5 * 0.7), abs=1e-3)
    np.testing.assert_allclose(applied.labels["airlight"][0, 0], [0.8, 0.7, 0.6], rtol=1e-6)
    np.testing.assert_allclose(applied.severity, 1 - applied.labels["transmission"])


def test_distance_is_a_box_of_22_anchored_at_11() -> None:
    depth = np.zeros((100, 100))
    depth[50, 50] = 1
    near = np.nonzero(1 - distance(depth, 1.0) > 1e-9)
    assert (near[0].min(), near[0].max(), near[1].min(), near[1].max()) == (40, 61, 40, 61)


def test_gain_is_a_power_of_the_light() -> None:
    light = np.linspace(0, 1.2, 1000, dtype=np.float32)[None]
    np.testing.assert_allclose(gain_of(light, 2.7), light**1.7, atol=2e-4)


def test_illumination_is_the_guided_filter() -> None:
    rng = generator(2)
    guide, luma = rng.random((2, 40, 50))

    def box(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, 1, mode="reflect")
        return sum(padded[y : y + 40, x : x + 50] for y in range(3) for x in range(3)) / 9

    slope = (box(guide * luma) - box(guide) * box(luma)) / (box(guide**2) - box(guide) ** 2 + 0.01)
    expected = box(slope) * guide + box(box(luma) - slope * box(guide)) + 1e-7
    np.testing.assert_allclose(illumination(guide, luma), np.maximum(expected, 1e-7), atol=1e-12)


def test_low_light_noise_has_its_sigma_and_the_parts_make_the_whole() -> None:
    image = np.full((200, 300, 3), 0.5, np.float32)
    family, context = LowLight(LowLight.Ranges()), _context(200, 300)
    params = LowLightParams(gamma=2.0, sigma=0.05, exposure_rgb=[1.0, 1.0, 1.0])
    whole = family.apply(image, params, context)
    (_, dark), (_, noisy) = family.parts(params)
    apart = family.apply(family.apply(image, dark, context).image, noisy, context)
    np.testing.assert_array_equal(whole.image, apart.image)
    residual = whole.image - image * whole.labels["illumination"][..., None]
    assert residual.std() == pytest.approx(0.05, rel=0.02)


def test_a_colour_cast_dims_its_channel() -> None:
    params = LowLightParams(gamma=1.0, sigma=0.0, exposure_rgb=[1.0, 0.5, 0.25])
    applied = LowLight(LowLight.Ranges()).apply(_photo(), params, _context())
    np.testing.assert_allclose(applied.image, _photo() * np.array([1.0, 0.5, 0.25], np.float32), rtol=1e-6)
    np.testing.assert_allclose(applied.severity, 0.75, atol=1e-6)


@pytest.mark.parametrize("angle", [-40.0, -15.0, 0.0, 10.0, 25.0])
@pytest.mark.parametrize("wide", [1, 2])
def test_rain_falls_at_its_angle(angle: float, wide: int) -> None:
    layer = Streaks(density=0.002, length_px=40, angle_deg=angle, intensity=1.0, scale=wide)
    rain = rain_layer((400, 400), [layer], 5)
    rain = rain - rain.mean()
    spectrum = np.abs(np.fft.fft2(rain)) ** 2
    fy, fx = (grid.ravel() for grid in np.meshgrid(np.fft.fftfreq(400), np.fft.fftfreq(400), indexing="ij"))
    low = (fy**2 + fx**2 < 0.1**2) & (fy**2 + fx**2 > 0)
    weights = spectrum.ravel()[low]
    moments = np.cov(np.stack([fy[low], fx[low]]), aweights=weights)
    _, vectors = np.linalg.eigh(moments)
    along = vectors[:, 0]  # streaks run across the direction in which the spectrum is wide
    found = math.degrees(math.atan2(along[1], along[0]))
    found = (found + 90) % 180 - 90
    assert found == pytest.approx(angle, abs=3)


@pytest.mark.parametrize(("wide", "angle"), [(1, 10.0), (2, 10.0), (1, 50.0)])
def test_rain_has_its_density(wide: int, angle: float) -> None:
    """Mean light = density x length x mean brightness (128 / 255) x width, whatever the canvas it was drawn on."""
    layer = Streaks(density=0.001, length_px=40, angle_deg=angle, intensity=0.5, scale=wide)
    found = np.mean([rain_layer((300, 400), [layer], seed).mean() for seed in range(8)])
    taper = 1 if wide == 1 else 10 * 11 / 10 / 20  # wide streaks swell and fade: 10 and 11 of 20 cells, peak 10
    expected = 0.001 * 40 * 0.5 * 128 / 255 * wide * taper
    assert found == pytest.approx(expected, rel=0.12)


def test_ranges_decide_how_wide_near_streaks_are_and_how_many_far_ones_fall() -> None:
    usual = Rain(Rain.Ranges()).sample(np.random.default_rng(3)).layers
    near = Rain(Rain.Ranges(fine=(0.25, 0.25), width_px=(3.2, 3.2))).sample(np.random.default_rng(3)).layers
    assert [layer.scale for layer in usual] == [1, 1, 2]
    assert [layer.scale for layer in near] == [1, 1, 3]
    assert [one.density / other.density for one, other in zip(near, usual, strict=True)] == [0.25, 0.25, 1]
    same = {"density", "scale"}
    assert [layer.model_dump(exclude=same) for layer in near] == [layer.model_dump(exclude=same) for layer in usual]


@pytest.mark.parametrize("wide", [2, 3, 5])
def test_near_streaks_are_as_wide_as_asked_for(wide: int) -> None:
    """The correlation across upright streaks falls to a half at about three quarters of their width."""
    layer = Streaks(density=0.0005, length_px=40, angle_deg=0, intensity=1, scale=wide)
    rain = rain_layer((300, 400), [layer], 5)
    rain = rain - rain.mean()
    alike = [(rain[:, shift:] * rain[:, : 400 - shift]).mean() / (rain * rain).mean() for shift in range(12)]
    half = float(np.interp(-0.5, -np.array(alike), np.arange(12)))
    assert half == pytest.approx(0.75 * wide, rel=0.3)


def test_heavy_rain_has_a_veil() -> None:
    applied = Rain(Rain.Ranges()).apply(_photo(), RainParams(layers=[], veil=0.5), _context())
    np.testing.assert_allclose(applied.image, 0.5 * _photo() + 0.375, atol=1e-6)


def test_snow_covers_by_its_mask_and_never_beyond_white() -> None:
    mask = np.array([[0.0, 0.25, 1.0]], np.float32)
    image = np.full((1, 3, 3), 0.2, np.float32)
    np.testing.assert_allclose(cover(image, mask)[0, :, 0], [0.2, 0.4, 1.0], atol=1e-6)
    for seed in range(6):
        params = Snow(Snow.Ranges()).sample(generator(seed))
        opacity = snow_mask((120, 160), params, seed)
        assert opacity.min() >= 0
        assert opacity.max() <= 1
        assert opacity.min() >= params.veil - 1e-6


def test_near_flakes_are_larger_and_fewer() -> None:
    layers = Snow(Snow.Ranges()).sample(generator(0)).layers
    sizes, counts = [layer.size_px for layer in layers], [layer.per_megapixel for layer in layers]
    assert sizes == sorted(sizes)
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_severity_zero_is_the_identity_and_the_input_is_kept(family: type[Degradation[Any, Any]]) -> None:
    image = _photo()
    before = image.copy()
    degradation = family(family.Ranges())
    untouched = degradation.apply(image, degradation.at(0.0), _context())
    np.testing.assert_allclose(untouched.image, before, rtol=0, atol=1e-7)
    assert untouched.severity.max() == 0
    degradation.apply(image, degradation.at(1.0), _context())
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("family", FAMILIES)
def test_where_the_field_is_zero_nothing_happens(family: type[Degradation[Any, Any]]) -> None:
    strength = np.zeros((60, 80), np.float32)
    strength[:, 40:] = 1
    degradation = family(family.Ranges())
    applied = degradation.apply(_photo(), degradation.at(1.0), _context(strength=strength))
    np.testing.assert_allclose(applied.image[:, :40], _photo()[:, :40], rtol=0, atol=1e-7)
    assert applied.severity[:, :40].max() == 0
    assert np.abs(applied.image[:, 40:] - _photo()[:, 40:]).mean() > 0.01
    assert applied.severity[:, 40:].mean() > 0.1
