"""params.yaml names every key there is, so that ``dvc exp run -S`` can change any of them, each at its meaning."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import modify_yaml

from cea.config import Config, parse
from cea.data.packing import ShardConfig
from cea.evaluation.config import EvaluationConfig
from cea.lineage.tracking import TrackingConfig
from cea.models.config import ModelSection
from cea.models.sizes import preset
from cea.report.config import ReportConfig
from cea.training.config import TrainConfig

OF_THE_SIZE = {"width", "stem", "expansion", "encoder_blocks", "middle_blocks", "decoder_blocks"}
"""A value given for one of these in the file would override ``size``."""


SECTIONS: dict[str, type[Config]] = {
    "model": ModelSection,
    "train": TrainConfig,
    "shard": ShardConfig,
    "evaluate": EvaluationConfig,
    "report": ReportConfig,
    "tracking": TrackingConfig,
}


def keys(kind: type[Config]) -> dict[str, object]:
    """Key -> the keys below it, or None."""
    defaults = {name: field.default for name, field in kind.model_fields.items()}
    return {name: keys(type(value)) if isinstance(value, Config) else None for name, value in defaults.items()}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_there(root: Path, section: str) -> None:
    values = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))[section]
    expected = keys(SECTIONS[section])
    found = {key: dict.fromkeys(value) if expected.get(key) else None for key, value in values.items()}
    assert found == {key: below for key, below in expected.items() if section != "model" or key not in OF_THE_SIZE}


def test_only_what_a_size_may_set_is_left_out() -> None:
    assert {key for size in ("small", "base") for key in preset(size, "restormer")} <= OF_THE_SIZE


def test_the_network_is_the_default_one(root: Path) -> None:
    """Documents and measurements of "the default network" mean the same as the code."""
    values = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))["model"]
    assert parse(ModelSection, values, "model") == parse(ModelSection, {}, "model")


def test_one_changed_value_is_one_changed_line(root: Path, tmp_path: Path) -> None:
    """``dvc exp run -S`` writes the whole file anew, and keeps the difference with each experiment."""
    ours = (root / "params.yaml").read_text(encoding="utf-8")
    file = tmp_path / "params.yaml"
    file.write_text(ours, encoding="utf-8")
    with modify_yaml(str(file)) as params:
        params["model"]["rank"] += 1
    theirs = file.read_text(encoding="utf-8").splitlines()
    assert [line.split("#")[0].strip() for line in theirs if line not in ours.splitlines()] == ["rank: 9"]
    assert len(theirs) == len(ours.splitlines())


def test_the_quick_look_changes_keys_that_exist(root: Path) -> None:
    """``make quick`` sets them by ``-S``."""
    text = (root / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    settings = re.search(r"^QUICK := (.*)$", text, re.M)
    assert settings is not None
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    names = [setting.partition("=")[0] for setting in shlex.split(settings[1])]
    assert len(names) >= 5
    for name in names:
        value = params
        for key in name.split("."):
            value = value[key]
