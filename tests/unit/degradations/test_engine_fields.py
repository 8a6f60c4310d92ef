"""Fields and procedural scene maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from cea.degradations.engine.fields import (
    ADAPTER,
    DRAWN,
    KINDS,
    Array,
    HalfPlane,
    ImageFile,
    draw_field,
    field_map,
)
from cea.degradations.engine.scene import (
    CropWindow,
    as_inverse_depth,
    brightest,
    draw_scene,
    light_map,
    procedural_depth,
    shrunk,
    sign_warning,
)
from cea.degradations.exact.fractal import fractal
from cea.errors import ImageError, RecordError
from cea.io.images import pixel_sha256, write_image
from cea.levels import to_codes
from cea.rng import generator

SHAPE = (90, 140)


def _depth() -> np.ndarray:
    return np.linspace(0, 1, SHAPE[0], dtype=np.float32)[:, None].repeat(SHAPE[1], 1)


@pytest.mark.parametrize("kind", ["constant", *DRAWN])
@pytest.mark.parametrize("seed", range(4))
def test_drawn_fields_are_smooth_and_survive_json(kind: str, seed: int) -> None:
    spec = draw_field(kind, generator(seed))
    field = field_map(spec, SHAPE, _depth)
    assert field.shape == SHAPE
    assert field.dtype == np.float32
    assert field.min() >= spec.low - 1e-6
    assert field.max() <= spec.high + 1e-6
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in (0, 1)) < 0.3
    if kind not in ("constant", "depth"):
        assert field.std() > 0.02
    again = ADAPTER.validate_json(ADAPTER.dump_json(spec))
    assert again == spec
    np.testing.assert_array_equal(field_map(again, SHAPE, _depth), field)


def test_every_kind_is_known_to_the_adapter() -> None:
    schema = ADAPTER.json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(KINDS)


def test_half_plane_grows_along_its_direction() -> None:
    field = field_map(HalfPlane(angle_deg=90.0, offset=0.0, softness=0.1), SHAPE, _depth)
    assert field[0].max() == 0
    assert field[-1].min() == 1
    assert np.ptp(field, axis=1).max() < 1e-6


def test_fractal_fills_the_range_and_seeds_differ() -> None:
    one, other = fractal(SHAPE, 1, 3, 3), fractal(SHAPE, 2, 3, 3)
    assert 0 <= one.min() < 0.02
    assert 0.98 < one.max() <= 1
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.7


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (3, 4000)])
@pytest.mark.parametrize("kind", DRAWN)
def test_fields_of_any_size(kind: str, shape: tuple[int, int]) -> None:
    field = field_map(draw_field(kind, generator(1)), shape, lambda: np.zeros(shape, np.float32))
    assert field.shape == shape
    assert np.isfinite(field).all()


def test_image_fields_are_held_to_their_pixels(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    write_image(path, np.arange(256, dtype=np.uint8).reshape(16, 16))
    spec = ImageFile(path=str(path))
    assert field_map(spec, (32, 32), _depth).max() == 1
    with pytest.raises(RecordError, match="the ones it was drawn with"):
        field_map(ImageFile(path=str(path), sha256="0" * 64), (32, 32), _depth)


def test_array_fields_must_be_handed_in() -> None:
    values = _depth()
    spec = Array(sha256=pixel_sha256(values))
    np.testing.assert_array_equal(field_map(spec, SHAPE, _depth, values), values)
    with pytest.raises(RecordError, match="missing"):
        field_map(spec, SHAPE, _depth)
    with pytest.raises(RecordError, match="digest"):
        field_map(spec, SHAPE, _depth, 1 - values)


def test_unknown_settings_of_a_field_fail() -> None:
    with pytest.raises(ValidationError):
        draw_field("gradient", generator(0), {"angel_deg": 3.0})


def _bright(height: int = 120, width: int = 180) -> np.ndarray:
    bright = np.full((height, width, 3), 77, np.uint8)
    bright[: height // 3] = 242  # sky
    return bright


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    return shrunk(pixels, lambda: brightest(pixels))


def test_procedural_depth_is_near_below_and_far_in_the_sky() -> None:
    window = CropWindow(top=0, left=0, height=120, width=180)
    for seed in range(8):
        scene = draw_scene(generator(seed)).model_copy(update={"horizon": 0.5, "tilt": 0.0})
        depth = procedural_depth(scene, _shrunk(_bright()), (120, 180), window)
        assert depth[-3:].min() > 0.9
        assert depth[:10].max() < 0.1
        assert depth.min() >= 0
        assert depth.max() <= 1


def test_a_crop_sees_its_part_of_the_ground() -> None:
    scene = draw_scene(generator(3)).model_copy(update={"horizon": 0.2, "relief": 0.0, "tilt": 0.0})
    whole = procedural_depth(scene, _shrunk(_bright()), (120, 180), CropWindow(top=0, left=0, height=120, width=180))
    tile = procedural_depth(
        scene, _shrunk(_bright()[60:]), (60, 180), CropWindow(top=60, left=0, height=120, width=180)
    )
    np.testing.assert_allclose(tile, whole[60:], atol=0.02)


def test_light_map_follows_the_light_and_smooths_texture() -> None:
    rng = generator(4)
    truth = np.where(np.arange(200) < 100, 0.2, 0.8).astype(np.float32)[None].repeat(150, 0)
    noisy = np.clip(truth + 0.05 * rng.standard_normal((150, 200)), 0, 1).astype(np.float32)
    pixels = to_codes(noisy)[..., None].repeat(3, axis=2)
    light = light_map(pixels, lambda: brightest(pixels), _shrunk(pixels), 20)
    assert light.min() > 0
    assert light[:, 40:60].std() < 0.02
    np.testing.assert_allclose([light[:, :60].mean(), light[:, 140:].mean()], [0.2, 0.8], atol=0.03)


def test_depth_conventions() -> None:
    metric = np.array([[1.0, 2.0], [10.0, np.inf]])
    np.testing.assert_allclose(as_inverse_depth(metric, "metric"), [[1, 0.5], [0.1, 0]], atol=1e-6)
    eight_bit = np.array([[0, 255]], np.uint8)
    np.testing.assert_array_equal(as_inverse_depth(eight_bit, "inverse"), [[0, 1]])
    with pytest.raises(ImageError, match="declare the convention 'metric'"):
        as_inverse_depth(metric[:1], "inverse")
    with pytest.raises(ImageError, match="without a positive value"):
        as_inverse_depth(np.zeros((2, 2)), "metric")


def test_a_wrong_sign_is_pointed_out() -> None:
    assert sign_warning(_depth()) is None
    assert "near = 1" in str(sign_warning(1 - _depth()))
