"""The weights that come with the package: there, within their budget, and harmless to a clean picture."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cea.cli.main import app
from cea.config import load, read_params
from cea.data.sources.bundled import Bundled, BundledConfig
from cea.errors import DataError
from cea.io.images import read_rgb, write_image
from cea.metrics.psnr import psnr
from cea.models.checkpoint import load_weights
from cea.models.config import ModelSection
from cea.models.measure.cost import figures
from cea.models.measure.matching import resolve
from cea.training.config import TrainConfig
from cea.weights import default
from cea.weights.default import default_weights

PARAMS = Path(str(files("cea.weights") / "params.yaml"))


def test_its_network_is_within_its_budget() -> None:
    model, _ = load_weights(default_weights())
    cost = figures(model.config)
    assert cost["parameters"] <= 1e6
    assert cost["gmacs_224"] <= 2


def test_it_has_the_network_of_its_params() -> None:
    params = read_params(PARAMS)
    model, _ = load_weights(default_weights())
    assert model.config == resolve(load(ModelSection, params, "model"))
    load(TrainConfig, params, "train")


@pytest.mark.parametrize("name", ["astronaut", "china", "coffee"])
def test_restore_needs_nothing_else_and_leaves_a_clean_photograph_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Any folder, no options; photographs that it was not trained on."""
    (item,) = Bundled(BundledConfig(names=[name])).items()
    clean = item.load().rgb[:256, :256]
    write_image(tmp_path / "photo.png", clean)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["restore", "photo.png", "-o", "out.png"])
    assert done.exit_code == 0, done.output
    assert psnr(read_rgb(tmp_path / "out.png"), clean) > 30


def test_a_package_without_them_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default, "NAME", "absent.safetensors")
    with pytest.raises(DataError, match="the weights that come with cea"):
        default_weights()


def test_its_lineage_names_the_weights_it_was_trained_from() -> None:
    _, metadata = load_weights(default_weights())
    lineage = json.loads(default_weights().with_name("lineage.json").read_text(encoding="utf-8"))
    assert lineage["parent"]["sha256"] == metadata["parent_sha256"]
