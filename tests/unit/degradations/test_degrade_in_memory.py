"""`cea.degradations.degrade`: an array in, a sample out, the same as the command writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from typer.testing import CliRunner

from cea import degradations
from cea.cli.main import app
from cea.degradations import degrade
from cea.degradations.engine.render import render
from cea.errors import ConfigError, ImageError
from cea.io.images import read_rgb, write_image
from cea.levels import to_uint8
from cea.testing.degradations import picture

CLEAN = to_uint8(picture((64, 80)))
HAZE = {"nodes": {"haze": {"beta": [1, 2]}, "noise": {"sigma_255": 15}}}


def test_image_maps_and_record():
    image, maps, record = degrade(CLEAN, recipe="cdd11/low_haze_rain", seed=3)
    assert (image.shape, image.dtype) == (CLEAN.shape, np.uint8)
    assert {"low/severity", "haze/severity", "rain/severity", "inverse_depth"} <= set(maps)
    assert maps["haze/severity"].shape == CLEAN.shape[:2]
    assert record.recipe == "cdd11_low_haze_rain"
    assert np.array_equal(render(record, CLEAN).degraded, image)


def test_the_seed_decides():
    same, other = (degrade(CLEAN, HAZE, seed=seed).image for seed in (0, 1))
    assert np.array_equal(same, degrade(CLEAN, HAZE).image)
    assert (same != other).any()
    assert not degrade(CLEAN, "cdd11/haze", seed=2, uneven=True).record.uniform


def test_files_pillow_and_floats_are_the_same_image(tmp_path: Path):
    write_image(tmp_path / "a.png", CLEAN)
    expected = degrade(CLEAN, HAZE, seed=5).image
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), PilImage.fromarray(CLEAN)):
        assert np.array_equal(degrade(image, HAZE, seed=5).image, expected)
    floats = degrade(CLEAN.astype(np.float32) / 255, HAZE, seed=5).image
    assert floats.dtype == np.float32
    assert np.array_equal(np.rint(floats * 255), expected)


def test_the_command_writes_the_same_pixels(tmp_path: Path):
    write_image(tmp_path / "a.png", CLEAN)
    command = ["degrade", str(tmp_path / "a.png"), "--recipe", "cdd11/low_haze_rain", "--seed", "3"]
    done = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "b.png")])
    assert done.exit_code == 0, done.output
    assert np.array_equal(read_rgb(tmp_path / "b.png"), degrade(CLEAN, "cdd11/low_haze_rain", seed=3).image)


def test_own_maps_are_taken_and_those_of_another_aspect_refused():
    near, far = (degrade(CLEAN, "cdd11/haze", inverse_depth=np.full((64, 80), depth)).image for depth in (1.0, 0.0))
    assert near.std() > far.std()
    with pytest.raises(ImageError, match="the same aspect"):
        degrade(CLEAN, "cdd11/haze", inverse_depth=np.ones((80, 64)))


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("cdd11/lowhaze", "low_haze"),
        ({"nodes": {"haze": {"betta": 1}}}, "did you mean 'beta'"),
        ({"nodes": {}}, "nodes"),
    ],
)
def test_a_wrong_recipe_is_named(recipe: object, says: str):
    with pytest.raises(ConfigError, match=says):
        degrade(CLEAN, recipe)  # type: ignore[arg-type]


def test_the_package_says_what_it_has():
    assert {"degrade", "Degrade"} <= set(dir(degradations))
    with pytest.raises(AttributeError, match="degrad"):
        _ = degradations.degrad
