"""The whole road with the severity head on: what was recorded is learned, judged, shown, and written as a receipt."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from cea.data.dataset import read_split
from cea.models.checkpoint import read_metadata
from tests.pipeline.test_full_run import Project, copied
from tests.pipeline.test_reproduce import tiny

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def headed(params: dict[str, Any]) -> None:
    tiny(params)
    params["model"] |= {"severity": ["haze", "noise"], "error_gate": True, "severity_gate": True, "adapter": "film"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = copied(tmp_path_factory.mktemp("receipt") / "project", headed, photograph=False)
    project.run("dvc", "repro")
    return project


def test_estimates_are_judged_and_shown(project: Project):
    calibration = project.summary()["calibration"]
    assert set(calibration) == {"severity", "error"}
    assert set(calibration["severity"]) == {"haze", "noise"}
    images = sum(group["images"] for group in project.summary()["recipes"].values())
    for one in calibration["severity"].values():
        assert one["images"] == images
        assert one["present"] == images / 2
        assert 0 < one["actual"] < 1
    page = (project.folder / "metrics/report.html").read_text()
    assert "What the network estimates" in page
    assert page.count("against the estimate") == 3


def test_training_depends_on_the_labels(project: Project):
    for split in ("train", "val", "test"):
        listed = read_split(project.folder / f"data/dataset/{split}.json")
        assert all(recipe.labels for recipe in listed.recipes.values())


def test_its_weights_write_receipts(project: Project):
    weights = project.folder / "data/model/best.safetensors"
    assert read_metadata(weights)[0]["severity"] == ["haze", "noise"]
    command = ["restore", "metrics/example.jpg", "-o", "out.png", "--weights", str(weights), "--receipt"]
    project.run(sys.executable, "-m", "cea.cli", *command)
    receipt = json.loads((project.folder / "out.receipt.json").read_text())
    assert list(receipt["severity"]["components"]) == ["haze", "noise"]
    for part in (*receipt["severity"]["components"].values(), receipt["expected_error"]):
        assert (project.folder / part["map"]).is_file()


def test_a_component_that_no_trained_recipe_has_is_refused_before_anything_runs(project: Project):
    project.params(lambda params: params["model"].update(severity=["haze", "fog"]))
    done = project.run("dvc", "repro", check=False)
    assert done.returncode != 0
    said = [line for line in (done.stdout + done.stderr).splitlines() if "model.severity" in line]
    assert said == [
        "error: model.severity: no recipe that is trained on has a component 'fog'; expected among haze, noise; "
        "correct the name, or add it to a recipe"
    ]
    assert (project.folder / "data/model/best.safetensors").is_file()
