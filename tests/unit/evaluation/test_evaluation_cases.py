"""Cases from shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cea.data.archive import TarWriter
from cea.data.shards import INDEX, PARTS, write_index
from cea.errors import DataError
from cea.evaluation.cases import clean_cases, shard_cases
from cea.io.images import encode_png, pixel_sha256


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """One shard of two samples, in the documented layout."""
    folder = tmp_path / "test" / "haze_rain"
    folder.mkdir(parents=True)
    rows = []
    with TarWriter(folder / "000000.tar") as tar:
        for number in range(2):
            clean = np.full((12, 16, 3), 10 * number, np.uint8)
            severity = np.concatenate([np.full((12, 16), 51, np.uint8), np.full((12, 16), 204, np.uint8)])
            parts = [encode_png(clean), encode_png(clean + 5), encode_png(severity), b"{}"]
            ranges = {}
            for part, data in zip(PARTS, parts, strict=True):
                ranges[f"{part}_offset"], ranges[f"{part}_size"] = tar.add(f"s{number}.{part}.x", data)
            rows.append(
                {
                    **{"sample_id": f"s{number}", "tar": "000000.tar", "recipe": "haze_rain", "clean_id": "a"},
                    **{"uniform": number == 0, "components": ["haze", "rain"], "n_components": 2, "height": 12},
                    **{
                        "width": 16,
                        "clean_sha256": pixel_sha256(clean),
                        "degraded_sha256": pixel_sha256(clean + 5),
                        **ranges,
                    },
                }
            )
    write_index(folder, pl.DataFrame(rows, schema=INDEX))
    return folder


def test_cases_carry_the_index_and_read_late(shard: Path):
    cases = shard_cases([shard])
    assert [(case.sample_id, case.recipe, case.clean_id) for case in cases] == [
        ("s0", "haze_rain", "a"),
        ("s1", "haze_rain", "a"),
    ]
    assert [case.uniform for case in cases] == [True, False]
    assert cases[1].components == ("haze", "rain")
    pixels = cases[1].read()
    assert (pixels.clean == 10).all()
    assert (pixels.degraded == 15).all()
    assert [band.mean() for band in pixels.severity] == [51, 204]


def test_a_missing_folder_says_so(tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        shard_cases([tmp_path / "test" / "fog"])


def test_every_scene_once_without_degradation(shard: Path):
    (case,) = clean_cases(shard_cases([shard]))
    assert (case.sample_id, case.recipe, case.components, case.uniform) == ("a-clean", "clean", (), None)
    pixels = case.read()
    assert (pixels.degraded == pixels.clean).all()
    assert pixels.severity is None
