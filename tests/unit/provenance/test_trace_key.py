"""What ``cea trace summary.json:KEY`` says of a key that is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cea.errors import DataError
from cea.lineage.project import Project
from cea.provenance.trace import trace


@pytest.mark.parametrize(
    ("key", "remedy"),
    [("gain_pnsr", r"did you mean gain_psnr"), ("recipes.fog.gain_psnr", r"recipes\.low\.gain_psnr"), ("#", "one of")],
)
def test_the_nearest_keys_are_named(tmp_path: Path, key: str, remedy: str) -> None:
    summary = tmp_path / "summary.json"
    summary.write_text(json.dumps({"gain_psnr": 1.0, "recipes": {"low": {"gain_psnr": 2.0}}}), encoding="utf-8")
    with pytest.raises(DataError, match=remedy):
        trace(Project(tmp_path, {}), f"{summary}:{key}")
