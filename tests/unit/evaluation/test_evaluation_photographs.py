"""Photographs without a clean original, and LPIPS in the tables."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from cea.cli.main import app
from cea.errors import DataError
from cea.evaluation import photographs, table
from cea.evaluation.cases import Case, Pixels
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.folder import Method
from cea.evaluation.photographs import PHOTOGRAPHS, judge_photographs
from cea.evaluation.summary import summarise
from cea.io.images import write_image
from cea.metrics.perceptual import Absent


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    return cv2.resize(coarse, (60, 48), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        write_image(tmp_path / f"real/{'rain' if number else 'fog'}/{number}.png", picture(number))
    return tmp_path / "real"


def blur(image):
    return cv2.GaussianBlur(image, (0, 0), 2.0) / 255


def test_every_photograph_has_a_row_per_score_and_sets_their_means(folder: Path):
    summary, rows, missing = judge_photographs({"wild": folder}, blur)
    assert rows.schema == pl.Schema(PHOTOGRAPHS)
    assert rows["name"].to_list() == ["0", "1", "2"]
    assert rows["set"].to_list() == ["fog", "rain", "rain"]
    assert (rows["output"] > rows["input"]).all(), "blurring is seen"
    found = summary["wild"]["blur_effect"]
    assert (found["images"], found["sets"]["rain"]["images"]) == (3, 2)
    assert found["output"] == pytest.approx(rows["output"].mean(), abs=1e-4)
    assert "arniqa" in missing or "arniqa" in summary["wild"]


def test_sets_are_named_by_where_they_lie(folder: Path):
    write_image(folder / "snow/degraded/7.png", picture(7))
    write_image(folder / "8.png", picture(8))
    _, rows, _ = judge_photographs({"wild": folder}, blur)
    assert dict(rows.filter(score="blur_effect").select("name", "set").iter_rows()) == {
        **{"0": "fog", "1": "rain", "2": "rain"},
        **{"7": "snow", "8": "real"},
    }


def test_without_folders_nothing_is_loaded_or_said(monkeypatch):
    monkeypatch.setattr(photographs, "load_scores", lambda: pytest.fail("not needed"))
    summary, rows, missing = judge_photographs({}, blur)
    assert (summary, missing, len(rows)) == ({}, {}, 0)


def test_missing_empty_and_broken_folders_are_one_error_each(folder: Path, tmp_path: Path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        judge_photographs({"x": tmp_path / "nowhere"}, blur)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no image in it"):
        judge_photographs({"x": tmp_path / "empty"}, blur)
    (folder / "rain/1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"rain/1\.png"):
        judge_photographs({"x": folder}, blur)


def cases():
    found = []
    for number in range(3):
        pixels = Pixels(picture(number) // 2, picture(number))
        found.append(Case(f"s{number}", "low", f"s{number}", ("low",), True, lambda pixels=pixels: pixels))
    return found


def test_lpips_where_it_is_absent_is_null_left_out_and_said_once(monkeypatch):
    monkeypatch.setattr(table, "load_lpips", lambda: Absent("no library"))
    found = table.evaluate(cases(), lambda image: image / 255, EvaluationConfig(check=False))
    assert found.skipped == {"LPIPS": "no library"}
    assert found.images["output_lpips"].null_count() == 3
    assert not [key for key in summarise(found.images) if "lpips" in key]
    quiet = table.evaluate(cases(), lambda image: image / 255, EvaluationConfig(check=False, lpips=False))
    assert quiet.skipped == {}


def test_lpips_where_it_is_there_stands_in_table_and_summary(monkeypatch):
    seen = []

    def distance(a, b):
        seen.append(a.dtype)
        return float(np.abs(np.asarray(a, float) / (255 if a.dtype == np.uint8 else 1) - b / 255).mean())

    monkeypatch.setattr(table, "load_lpips", lambda: distance)
    found = table.evaluate(cases(), lambda image: image / 255 * 2, EvaluationConfig(check=False, protocol="derain-y"))
    assert found.skipped == {}
    assert (found.images["output_lpips"] < found.images["input_lpips"]).all()
    assert set(seen) == {np.dtype(np.uint8)}, "derain-y rounds; LPIPS sees RGB all the same"
    summary = summarise(found.images)
    assert summary["recipes"]["low"]["input_lpips"] == pytest.approx(found.images["input_lpips"].mean(), abs=1e-5)


def test_cea_eval_scores_photographs_without_targets(folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("cea.cli.evaluate._restorer", lambda weights, tile, trust_code: Method("digest", blur))
    arguments = ["eval", "--data", str(folder), "--no-reference", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "blur_effect of fog: " in done.output
    assert "(0 sharp, 1 blurred; noise lowers it, too)" in done.output
    assert "on 3 images" in done.output
    assert len(pl.read_parquet(tmp_path / "out/photographs.parquet").filter(score="blur_effect")) == 3
    assert json.loads((tmp_path / "out/photographs.json").read_text())["photographs"]["blur_effect"]["images"] == 3
    refused = CliRunner().invoke(app, [*arguments, "--outputs", str(folder)])
    assert refused.exit_code == 2
    assert "--no-reference with --outputs" in refused.output
