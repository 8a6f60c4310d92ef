"""docs/adding-a-degradation.md does what it says: its files, recipes and commands are run as printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from ruamel.yaml import YAML

from cea.degradations.engine.records import Record
from cea.io.images import read_rgb
from cea.levels import to_uint8
from cea.testing.degradations import picture

pytestmark = pytest.mark.slow

BLOCK = re.compile(r"(?:<!-- (?P<role>\w+): (?P<name>\S+) -->\n)?```(?P<language>\w+)\n(?P<body>.*?)```", re.S)


def blocks(root):
    return list(BLOCK.finditer((root / "docs/adding-a-degradation.md").read_text(encoding="utf-8")))


def write_files(root, folder):
    """The tutorial's files and recipes, in ``folder``."""
    recipes = "".join(b["body"] for b in blocks(root) if b["role"] == "params")
    (folder / "params.yaml").write_text("recipes:\n" + recipes, encoding="utf-8")
    for block in blocks(root):
        if block["role"] == "file":
            (folder / block["name"]).parent.mkdir(exist_ok=True)
            (folder / block["name"]).write_text(block["body"], encoding="utf-8")


@pytest.fixture(scope="module")
def tutorial(root, tmp_path_factory):
    """A folder where the tutorial was followed, and every command's output."""
    folder = tmp_path_factory.mktemp("tutorial")
    write_files(root, folder)
    PilImage.fromarray(to_uint8(picture((60, 90)))).save(folder / "photo.jpg")
    programmes = {"cea": [sys.executable, "-m", "cea.cli"], "python": [sys.executable]}
    environment = {**os.environ, "PYTHONPATH": str(root), "NO_ALBUMENTATIONS_UPDATE": "1"}
    outputs = {}
    for line in "".join(b["body"] for b in blocks(root) if b["language"] == "sh").splitlines():
        first, *rest = shlex.split(line)
        done = subprocess.run(
            [*programmes[first], *rest], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        outputs[line] = done.stdout
    return folder, outputs


def test_every_command_runs_and_writes_its_picture(tutorial):
    folder, outputs = tutorial
    assert len(outputs) == 5
    clean = read_rgb(folder / "photo.jpg")
    for name in ("video", "rows", "ringing"):
        degraded = read_rgb(folder / f"{name}.png")
        assert degraded.shape == clean.shape
        assert (degraded != clean).any()


def test_the_contract_ran_and_passed(tutorial):
    (output,) = (text for line, text in tutorial[1].items() if "pytest" in line)
    passed = re.search(r"(\d+) passed", output)
    assert passed
    assert int(passed[1]) > 15
    assert "failed" not in output


def test_the_record_holds_what_sample_drew(tutorial):
    record = Record.model_validate_json((tutorial[0] / "video.json").read_text())
    lines = next(node for node in record.nodes if node.label == "Scanlines")
    assert lines.family == "Scanlines"
    assert set(lines.params["values"]) == {"period", "loss"}
    assert 0.5 <= lines.params["amount"] <= 1


def test_rows_are_rows(tutorial):
    clean, rows = (read_rgb(tutorial[0] / name).astype(float) for name in ("photo.jpg", "rows.png"))
    difference = rows - clean
    inside = (rows > 0) & (rows < 255)
    spread = [row[mask].std() for row, mask in zip(difference, inside, strict=True) if mask.any()]
    assert np.mean(spread) < 0.6  # rounding only
    assert difference.mean(axis=(1, 2)).std() > 3


def project_copy(root: Path, folder: Path) -> None:
    for name in ("cea", "pipeline", "plugins"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(root / name, folder / name)
    (folder / "data/raw").mkdir(parents=True)


def test_the_file_is_listed_for_its_own_recipe_alone(root, tmp_path):
    """As stage ``code`` lists it, in a copy of the project with the tutorial's recipe and file."""
    project_copy(root, tmp_path)
    tutorial_folder = tmp_path / "tutorial"
    tutorial_folder.mkdir()
    write_files(root, tutorial_folder)
    shutil.copy(tutorial_folder / "plugins/rownoise.py", tmp_path / "plugins/rownoise.py")
    yaml = YAML()
    params = yaml.load((tmp_path / "params.yaml").read_text())
    params["recipes"]["rows"] = YAML(typ="safe").load((tutorial_folder / "params.yaml").read_text())["recipes"]["rows"]
    with (tmp_path / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    command = [sys.executable, "-m", "pipeline.code", "--code", "data/code"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    listings = {path.stem: path.read_text() for path in (tmp_path / "data/code/shard").glob("*.txt")}
    assert {name for name, text in listings.items() if "plugins/rownoise.py" in text} == {"rows"}
