"""The leak check before training: refuses by name, and is silent and cheap where there is nothing to compare."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from ruamel.yaml import YAML

from cea.data.clean import SCHEMA, TABLE
from cea.io.images import pixel_sha256, write_image

ROOT = Path(__file__).resolve().parents[2]


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (96, 64), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three clean photographs, of which the last is tested on, and a benchmark with pictures of its own."""
    for name in ("cea", "pipeline"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    rows = []
    for number, split in enumerate(("train", "val", "test")):
        rgb = picture(number)
        write_image(tmp_path / f"data/clean/images/p{number}.png", rgb)
        row = dict.fromkeys(SCHEMA) | {"id": f"p{number}", "sha256": pixel_sha256(rgb), "split": split}
        rows.append(row | {"file": f"images/p{number}.png", "kind": "photograph", "height": 64, "width": 96})
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(tmp_path / "data/clean" / TABLE)
    for number in (7, 8):
        write_image(tmp_path / f"sets/target/{number}.png", picture(number))
        write_image(tmp_path / f"sets/input/{number}.png", picture(number) // 2)
    return tmp_path


def leaks(project: Path, **benchmarks) -> subprocess.CompletedProcess[str]:
    with (project / "params.yaml").open("w") as file:
        YAML().dump({"evaluate": {"testsets": benchmarks}}, file)
    paths = ["--clean", "data/clean", "--testsets", "data/testsets", "--verdict", "data/leaks.json"]
    command = [sys.executable, "-m", "pipeline.leaks", *paths]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_other_pictures_pass_and_the_verdict_says_nothing_of_them(project: Path):
    assert leaks(project).returncode == 0
    alone = (project / "data/leaks.json").read_bytes()
    done = leaks(project, mine={"path": "sets"})
    assert done.returncode == 0, done.stderr
    assert "none of 2 photographs occurs among 2 test images" in done.stdout
    assert (project / "data/leaks.json").read_bytes() == alone


@pytest.mark.parametrize(
    "repeated",
    [
        picture(0),
        cv2.resize(picture(1), (60, 40), interpolation=cv2.INTER_AREA),
        np.ascontiguousarray(picture(1)[:, ::-1]),
    ],
)
def test_a_picture_that_is_trained_on_is_refused_by_name(project: Path, repeated: np.ndarray):
    write_image(project / "sets/target/leak.png", repeated)
    write_image(project / "sets/input/leak.png", repeated // 2)
    done = leaks(project, mine={"path": "sets"})
    assert done.returncode == 2
    assert done.stderr.startswith("error: 1 training images occur in the test sets: p")
    assert "leak.png" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "data/leaks.json").exists()


def test_what_is_only_tested_on_may_be_in_a_benchmark(project: Path):
    write_image(project / "sets/target/own.png", picture(2))
    write_image(project / "sets/input/own.png", picture(2) // 2)
    assert leaks(project, mine={"path": "sets"}).returncode == 0


def test_a_missing_folder_is_one_line(project: Path):
    done = leaks(project, mine={"path": "nowhere"})
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nowhere: no such folder" in done.stderr


def test_lists_of_sets_that_are_named_no_more_go(project: Path):
    """In a clone they would not be there, and ``dvc status`` would differ."""
    for name in ("mine", "gone", "photographs/own"):
        (project / f"data/testsets/{name}.txt").parent.mkdir(parents=True, exist_ok=True)
        (project / f"data/testsets/{name}.txt").write_text("")
    (project / "data/testsets/README.md").write_text("stays")
    done = leaks(project, mine={"path": "sets"})
    assert done.returncode == 0, done.stderr
    left = sorted(path.name for path in (project / "data/testsets").rglob("*") if path.is_file())
    assert left == ["README.md", "mine.txt"]
    assert "removed the list of gone" in done.stdout
