"""`cea eval` on a folder: what it says, what it writes, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from cea.cli.main import app
from cea.errors import DataError
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.folder import FolderJob, Method, judge_folder
from cea.io.images import write_image


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two plain sets of two pairs, and the outputs of a method that halves the error."""
    for name in ("fog", "rain"):
        for number in range(2):
            clean = picture(10 * number + len(name))
            write_image(tmp_path / f"data/{name}/target/{number}.png", clean)
            write_image(tmp_path / f"data/{name}/input/{number}.png", clean // 2)
            write_image(tmp_path / f"theirs/{name}/{number}.png", clean - clean // 4)
    return tmp_path / "data"


def cea(*arguments: object):
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def test_outputs_are_judged_and_written(data: Path, tmp_path: Path):
    done = cea("--data", data, "--outputs", tmp_path / "theirs", "-o", tmp_path / "out", "--protocol", "onerestore")
    assert done.exit_code == 0, done.output
    assert "fog (plain layout): 2 pairs" in done.output
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["protocol"] == "onerestore"
    assert list(summary["recipes"]) == ["fog", "rain"]
    assert summary["gain_psnr"] == pytest.approx(20 * np.log10(2), abs=0.2)
    assert f"{summary['recipes']['fog']['gain_psnr']:+6.2f}" in done.output
    assert len(pl.read_parquet(tmp_path / "out/images.parquet")) == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images.parquet", "summary.json"]


def test_incomplete_sets_are_refused_unless_told(data: Path, tmp_path: Path):
    (data / "fog/target/1.png").unlink()
    arguments = ("--data", data, "--outputs", tmp_path / "theirs", "-o", tmp_path / "out")
    refused = cea(*arguments)
    assert refused.exit_code == 2
    assert "1 without a target: 1.png" in refused.output
    assert "Traceback" not in refused.output
    assert not (tmp_path / "out").exists()
    assert cea(*arguments, "--skip-missing").exit_code == 0
    assert json.loads((tmp_path / "out/summary.json").read_text())["images"] == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--protocol", "promptr"), "one of cea, promptir"),
        (("--outputs", "nowhere"), "no output for 4 of 4 images"),
        (("--train", "nowhere"), "nowhere: no such folder"),
        (("--data", "nowhere"), "no such folder"),
    ],
)
def test_each_mistake_is_one_line(data: Path, tmp_path: Path, arguments, says):
    done = cea("--data", data, "--outputs", tmp_path / "theirs", "-o", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert says in done.output
    assert sum(line.startswith("error:") for line in done.output.splitlines()) == 1


def test_training_on_test_images_is_refused(data: Path, tmp_path: Path):
    arguments = ("--data", data, "--outputs", tmp_path / "theirs", "-o", tmp_path / "out", "--train")
    done = cea(*arguments, data / "rain/target")
    assert done.exit_code == 2
    assert "2 training images occur in the test sets" in done.output
    write_image(tmp_path / "train/other.png", picture(99))
    assert cea(*arguments, tmp_path / "train").exit_code == 0


@pytest.fixture
def killed(data: Path, tmp_path: Path):
    """An evaluation that was killed at its fourth image: its job, settings, method, and the calls so far."""
    job, config, calls = FolderJob(data, tmp_path / "out"), EvaluationConfig(workers=1), []

    def restore(image):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return image / 255

    with pytest.raises(KeyboardInterrupt):
        judge_folder(job, Method("a", restore), config, lambda line: None)
    return job, config, restore, calls


def test_a_killed_run_resumes_and_other_weights_do_not_mix(killed, tmp_path: Path):
    job, config, restore, calls = killed
    assert (tmp_path / "out/journal.jsonl").is_file()
    with pytest.raises(DataError, match="rows of another evaluation"):
        judge_folder(job, Method("b", restore), config, lambda line: None)
    summary = judge_folder(job, Method("a", restore), config, lambda line: None)
    assert len(calls) < 4 + 4
    assert summary["images"] == 4
    assert not (tmp_path / "out/journal.jsonl").exists()


def test_a_key_that_stands_twice_in_a_journal_ends_what_is_taken_from_it(killed, tmp_path: Path):
    """As two evaluations leave it that ran into one folder."""
    job, config, restore, calls = killed
    path = tmp_path / "out/journal.jsonl"
    head, *rows = path.read_bytes().splitlines(keepends=True)
    assert rows
    path.write_bytes(head + head + b"".join(rows))
    assert judge_folder(job, Method("a", restore), config, lambda line: None)["images"] == 4
    assert len(calls) == 4 + 4
