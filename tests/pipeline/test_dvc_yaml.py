"""dvc.yaml tells the truth: deps are what the stages import, recipes are those of params.yaml, params are narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.pipeline.closure import closure

ROOT = Path(__file__).resolve().parents[2]
YAML_1_2 = YAML(typ="safe", pure=True)
DVC: dict[str, Any] = YAML_1_2.load((ROOT / "dvc.yaml").read_text())
PARAMS: dict[str, Any] = YAML_1_2.load((ROOT / "params.yaml").read_text())
RECIPES = list(PARAMS["recipes"])


def resolved_stages() -> dict[str, dict[str, Any]]:
    """Every stage instance by the name DVC gives it, with its templates filled in."""
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        return {
            stage.addressing: {
                "cmd": stage.cmd,
                "deps": [dep.def_path for dep in stage.deps if dep.protocol == "local" and not hasattr(dep, "params")],
                "outs": [out.def_path for out in stage.outs],
                "params": [key for dep in stage.deps if hasattr(dep, "params") for key in dep.params],
            }
            for stage in repo.index.stages
        }


@pytest.fixture(scope="module")
def stages() -> dict[str, dict[str, Any]]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return resolved_stages()


def is_code(path: str) -> bool:
    return path.startswith(("cea", "pipeline"))


def declared_files(deps: list[str]) -> set[Path]:
    """Code files among ``deps``, folders opened."""
    files: set[Path] = set()
    for dep in filter(is_code, deps):
        path = ROOT / dep
        files |= (
            {f for f in path.rglob("*") if f.is_file() and "__pycache__" not in f.parts} if path.is_dir() else {path}
        )
    return {file for file in files if file.name != "__init__.py"}


def components_of(name: str) -> frozenset[str]:
    """Modules that the stage instance takes out of registries."""
    from cea.degradations.recipes import modules_of

    if "@" in name:
        return frozenset(modules_of(PARAMS["recipes"][name.split("@")[1]]))
    if name == "ingest":
        return frozenset({"cea.data.sources.bundled", "cea.data.sources.folder"})
    return frozenset()


def test_every_stage_of_the_road_is_there(stages):
    expected = {"ingest", "train", "evaluate", "report"}
    expected |= {f"{stage}@{recipe}" for stage in ("synthesize", "shard") for recipe in RECIPES}
    assert set(stages) == expected


def test_deps_are_exactly_the_import_closure(stages):
    wrong = {}
    for name, stage in stages.items():
        module = stage["cmd"].split()[2]
        needed = closure(ROOT / Path(*module.split(".")).with_suffix(".py"), ROOT, components_of(name))
        declared = declared_files(stage["deps"])
        code = {f for f in declared if f.suffix == ".py"}
        missing, idle = needed - declared, code - needed
        if missing or idle:
            wrong[name] = {
                k: sorted(str(f.relative_to(ROOT)) for f in v) for k, v in {"missing": missing, "idle": idle}.items()
            }
    assert not wrong


def test_files_that_are_not_code_but_are_read_are_declared(stages):
    """The report's template, style and script lie beside its code."""
    assert any(file.suffix != ".py" for file in declared_files(stages["report"]["deps"]))


def test_train_and_evaluate_use_every_recipe(stages):
    train, evaluate = stages["train"]["deps"], stages["evaluate"]["deps"]
    for recipe in RECIPES:
        assert f"data/shards/train/{recipe}" in train
        assert f"data/shards/val/{recipe}" in train
        assert f"data/shards/test/{recipe}" in evaluate
    assert not [dep for dep in train if "/test/" in dep], "the test split must not reach training"


def test_params_are_narrow(stages):
    for recipe in RECIPES:
        recipes = [key for key in stages[f"synthesize@{recipe}"]["params"] if key.startswith("recipes")]
        assert recipes == [f"recipes.{recipe}"]
        assert "synthesize" not in stages[f"shard@{recipe}"]["params"]
    for name, stage in stages.items():
        if name not in ("train", "evaluate", "report"):
            assert not {"model", "train"} & set(stage["params"]), name


def test_nobody_depends_on_a_parent_of_shard_outputs(stages):
    parents = {"data", "data/shards", "data/shards/train", "data/shards/val", "data/shards/test", "data/records"}
    for name, stage in stages.items():
        assert not parents & set(stage["deps"]), name
