"""Blur, drops, vignetting and glare do what their physics says."""

from __future__ import annotations

import numpy as np
import pytest

from cea.degradations.contract.base import Context, Scene
from cea.degradations.exact import transfer
from cea.degradations.families.defocus import Defocus, DefocusParams, DefocusRanges
from cea.degradations.families.glare import Glare, GlareParams, GlareRanges
from cea.degradations.families.motion_blur import MotionBlur, MotionBlurParams, MotionBlurRanges
from cea.degradations.families.raindrop import Raindrop, RaindropParams, RaindropRanges
from cea.degradations.families.varying_blur import VaryingBlur, VaryingBlurParams, VaryingBlurRanges, partition
from cea.degradations.families.vignetting import Vignetting, VignettingParams, VignettingRanges, loss
from cea.rng import generator
from cea.testing.degradations import context, picture, scene_maps


def with_depth(inverse_depth, stream=3):
    return Context(Scene(inverse_depth, np.ones_like(inverse_depth)), stream)


def sharpness(image):
    return float(np.abs(np.diff(image, axis=1)).mean())


def test_motion_blur_keeps_the_mean_of_the_light_and_brightens_highlights_truly():
    image = np.full((80, 80, 3), 0.2, np.float32)
    image[38:42, 38:42] = 1.0
    blurred = MotionBlur(MotionBlurRanges()).apply(
        image, MotionBlurParams(length_px=30, shake=0.0), with_depth(np.ones((80, 80), np.float32))
    )
    light, after = transfer.linear(image), transfer.linear(blurred.image)
    assert abs(after.mean() - light.mean()) < 1e-4
    # In encoded values the mean rises: a highlight spread in linear light stays visible.
    assert blurred.image.mean() > image.mean() + 1e-3


def test_motion_blur_smears_along_its_path_only():
    image = np.zeros((64, 64, 3), np.float32)
    image[32, 32] = 1.0
    result = (
        MotionBlur(MotionBlurRanges())
        .apply(image, MotionBlurParams(length_px=20, shake=0.0), context((64, 64)))
        .image[..., 0]
    )
    rows, columns = np.nonzero(transfer.linear(np.repeat(result[..., None], 3, axis=2))[..., 0] > 0.005)
    spread = np.linalg.svd(np.stack([rows - rows.mean(), columns - columns.mean()]), compute_uv=False)
    assert spread[1] < 0.2 * spread[0]  # a line
    assert 12 < np.hypot(np.ptp(rows), np.ptp(columns)) < 24


def test_motion_blur_in_a_field_follows_the_strength():
    image = picture((60, 120))
    strength = np.repeat(np.linspace(0, 1, 120, dtype=np.float32)[None], 60, axis=0)
    result = MotionBlur(MotionBlurRanges()).apply(
        image, MotionBlurParams(length_px=20, shake=0.2), Context(scene_maps((60, 120)), 3, strength)
    )
    np.testing.assert_array_equal(result.image[:, 0], image[:, 0])
    kept = [sharpness(result.image[:, part]) / sharpness(image[:, part]) for part in (slice(2, 30), slice(90, 118))]
    assert kept[0] > 2 * kept[1]


@pytest.mark.parametrize("radius", [1.2, 6.0])
def test_defocus_leaves_the_plane_in_focus_and_blurs_with_distance(radius):
    depth = np.repeat(np.linspace(0, 1, 96, dtype=np.float32)[:, None], 96, axis=1)
    image = picture((96, 96))
    result = Defocus(DefocusRanges()).apply(image, DefocusParams(radius_px=radius, focus=1.0), with_depth(depth))
    np.testing.assert_array_equal(result.image[-1], image[-1])
    kept = [sharpness(result.image[r]) / sharpness(image[r]) for r in (slice(0, 24), slice(36, 60), slice(72, 96))]
    assert kept[0] < kept[1] < kept[2]
    assert result.severity[0, 0] > result.severity[-1, 0] == 0


def test_defocus_of_an_even_depth_is_a_disc():
    image = np.zeros((81, 81, 3), np.float32)
    image[40, 40] = 1.0
    far = np.zeros((81, 81), np.float32)
    result = Defocus(DefocusRanges()).apply(image, DefocusParams(radius_px=8.0, focus=1.0), with_depth(far))
    light = transfer.linear(result.image)[..., 0].astype(np.float64)
    y, x = np.mgrid[:81, :81]
    radius = np.sqrt((light * ((y - 40) ** 2 + (x - 40) ** 2)).sum() / light.sum() * 2)
    assert abs(light.sum() - 1) < 0.06  # codes of 1/65535 round a point spread over 200 pixels
    assert abs(radius - 8) < 0.6


def test_sharp_foreground_does_not_bleed_into_blurred_background():
    image = np.full((60, 60, 3), 0.1, np.float32)
    image[:, :30] = 1.0  # bright, near, in focus
    depth = np.zeros((60, 60), np.float32)
    depth[:, :30] = 1.0
    result = Defocus(DefocusRanges()).apply(image, DefocusParams(radius_px=6.0, focus=1.0), with_depth(depth))
    light = transfer.linear(result.image)
    assert light[30, 34, 0] < 0.1  # plain blurring would bring about .3 of the light over


def test_partition_is_one_everywhere():
    masks = partition(generator(5), (37, 53), 4)
    np.testing.assert_allclose(sum(masks), 1, atol=1e-6)
    assert all((mask >= 0).all() for mask in masks)
    assert max(float(mask.max() - mask.min()) for mask in masks) > 0.3


def test_varying_blur_varies():
    image = np.clip(0.5 + 0.2 * generator(1).standard_normal((192, 192, 1)), 0, 1).astype(np.float32).repeat(3, axis=2)
    result = (
        VaryingBlur(VaryingBlurRanges())
        .apply(image, VaryingBlurParams(sigma_px=4, roundness=0.5, kernels=3), context((192, 192)))
        .image
    )
    detail = [result[r : r + 48, c : c + 48].std() for r in range(0, 192, 48) for c in range(0, 192, 48)]
    assert max(detail) > 1.5 * min(detail)
    assert abs(transfer.linear(result).mean() - transfer.linear(image).mean()) < 2e-3


def test_vignetting_on_three_hand_computed_pixels():
    # cos^4 with the corner at distance 1: falloff .75 gives tan^2 = .25^(-1/2) - 1 = 1, so cos^4 = 1 / (1 + r^2)^2.
    lost = loss((3, 3), 0.75)
    np.testing.assert_allclose([lost[1, 1], lost[0, 0], lost[0, 1]], [0, 1 - 1 / 4, 1 - 1 / 1.5**2], atol=1e-6)


def test_vignetting_dims_linear_light():
    image = np.full((41, 61, 3), 0.8, np.float32)
    result = Vignetting(VignettingRanges()).apply(image, VignettingParams(falloff=0.6), context((41, 61)))
    ratio = transfer.linear(result.image)[..., 0] / transfer.linear(image)[..., 0]
    np.testing.assert_allclose(ratio, result.labels["vignette"], atol=1e-3)
    assert abs(ratio[0, 0] - 0.4) < 1e-3
    assert ratio[20, 30] == pytest.approx(1, abs=1e-3)


def test_glare_redistributes_light_without_making_any():
    image = np.full((96, 96, 3), 0.1, np.float32)
    image[40:56, 40:56] = 0.85
    params = GlareParams(scatter=0.3, spread=0.05, highlights=0.0)
    result = Glare(GlareRanges()).apply(image, params, context((96, 96)))
    before, after = transfer.linear(image), transfer.linear(result.image)
    assert abs(after.mean() / before.mean() - 1) < 0.01
    assert after[48, 48, 0] < before[48, 48, 0]
    assert after[48, 60, 0] > before[48, 60, 0] + 0.01
    assert after[48, 60, 0] > after[48, 80, 0]


def drops(image, stream=3, **changes):
    params = RaindropParams(**{"coverage": 0.2, "radius": 0.08, "defocus": 0.1, **changes})
    return Raindrop(RaindropRanges()).apply(image, params, Context(scene_maps(image.shape[:2]), stream))


def test_drops_show_the_scene_the_wrong_way_round():
    image = np.full((160, 240, 3), 0.1, np.float32)
    image[:, 120:] = 0.9  # bright on the right
    result = drops(image, coverage=0.05, radius=0.12, defocus=0.02)
    mask = result.labels["mask"]
    inside = mask > 0.95
    grey = result.image[..., 0]
    left, right = inside[:, :110], inside[:, 130:]
    # A drop in the dark half refracts light from the bright one, and the other way round.
    assert grey[:, :110][left].max() > 0.5
    assert grey[:, 130:][right].min() < 0.5


def test_a_single_drop_is_upside_down():
    image = np.zeros((200, 200, 3), np.float32)
    image[:55] = 0.9  # the drop of this stream lies across the horizon
    result = drops(image, stream=10, coverage=0.02, radius=0.2, defocus=0.02)
    rows, columns = np.nonzero(result.labels["mask"] > 0.9)
    middle = rows.mean()
    near = np.abs(columns - columns.mean()) < 3
    upper, lower = near & (rows < middle - 4), near & (rows > middle + 4)
    grey = result.image[..., 0]
    assert grey[rows[upper], columns[upper]].mean() < grey[rows[lower], columns[lower]].mean() - 0.3


def test_drops_displace_and_nothing_else_moves():
    image = picture((120, 180))
    result = drops(image)
    changed = np.abs(result.image - image).max(axis=2) > 2 / 255
    mask = result.labels["mask"]
    assert not changed[mask == 0].any()
    assert changed[mask > 0.9].mean() > 0.8


def test_more_coverage_adds_drops_and_keeps_the_old_ones():
    image = picture((120, 180))
    few, many = (drops(image, coverage=c).labels["mask"] for c in (0.05, 0.25))
    assert many.mean() > 2 * few.mean()
    assert (many >= few - 0.05).all()
    assert 0.5 < many.mean() / 0.25 < 1.3
