"""The README's picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cea.errors import ConfigError, DataError
from cea.evaluation.pictures import read_pictures
from cea.io.images import read_rgb
from cea.report.config import StripConfig
from cea.report.strip import cover, example_strip

TILE = {"tile_width": 120, "tile_height": 80}


def test_rows_hold_input_restored_and_clean(run_files, tmp_path: Path):
    out = tmp_path / "example.png"
    example_strip(run_files.pictures, out, StripConfig(rows=2, **TILE))
    picture = read_rgb(out)
    assert picture.shape[1] == 2 * 14 + 3 * 120 + 2 * 8
    first = run_files.pictures / read_pictures(run_files.pictures)[0].sample_id
    for column, name in enumerate(("input", "restored", "clean")):
        left = 14 + column * 128
        tile = picture[48 : 48 + 80, left : left + 120]
        assert (tile == cover(read_rgb(first / f"{name}.png"), 120, 80)).all(), name


def test_named_recipes_come_in_that_order_and_smaller_formats_work(run_files, tmp_path: Path):
    config = StripConfig(recipes=("haze_rain", "noise"), **TILE)
    example_strip(run_files.pictures, tmp_path / "a.png", config)
    example_strip(run_files.pictures, tmp_path / "b.png", StripConfig(recipes=("noise", "haze_rain"), **TILE))
    a, b = read_rgb(tmp_path / "a.png"), read_rgb(tmp_path / "b.png")
    assert (a[48:128] == b[48 + 114 : 128 + 114]).all()
    example_strip(run_files.pictures, tmp_path / "c.webp", config)
    assert (tmp_path / "c.webp").stat().st_size < (tmp_path / "a.png").stat().st_size


def test_what_is_not_there_is_named(run_files, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"'fog'.*noise"):
        example_strip(run_files.pictures, tmp_path / "a.png", StripConfig(recipes=("fog",)))
    with pytest.raises(DataError, match="no pictures"):
        example_strip(tmp_path, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_covering_keeps_proportions():
    image = np.zeros((100, 400, 3), np.uint8)
    image[:, 100:300] = 255
    tile = cover(image, 50, 50)
    assert tile.shape == (50, 50, 3)
    assert (tile == 255).all()
