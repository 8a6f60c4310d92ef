"""dvc.yaml tells the truth: deps are what the stages import, recipes are those of params.yaml, params are narrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cea.errors import ConfigError, DataError
from pipeline.check import check
from pipeline.imports import closure
from pipeline.wire import wired

ROOT = Path(__file__).resolve().parents[2]
YAML_1_2 = YAML(typ="safe", pure=True)
DVC: dict[str, Any] = YAML_1_2.load((ROOT / "dvc.yaml").read_text())
PARAMS: dict[str, Any] = YAML_1_2.load((ROOT / "params.yaml").read_text())
RECIPES = list(PARAMS["recipes"])
UNSEEN = {name for name, recipe in PARAMS["recipes"].items() if recipe.get("training") is False}


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


def test_every_stage_of_the_road_is_there(stages):
    expected = {"ingest", "leaks", "train", "evaluate", "report"}
    expected |= {f"{stage}@{recipe}" for stage in ("synthesize", "shard") for recipe in RECIPES}
    assert set(stages) == expected


def test_dvc_yaml_is_in_step_with_params_and_imports():
    """That the imports are all of the truth is checked in the full run, against what Python really loaded."""
    assert wired(ROOT) == (ROOT / "dvc.yaml").read_text(), "run 'make wire'"
    check(ROOT)


def test_an_unknown_recipe_or_stale_file_is_noticed(tmp_path: Path):
    for name in ("cea", "pipeline"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text().replace("    - cea/rng.py\n", "", 1))
    with pytest.raises(ConfigError, match="run 'make wire'"):
        check(tmp_path)


def test_a_recipe_depends_on_its_own_families_alone(stages):
    families = {"noise.py", "lowlight.py", "haze.py", "rain.py", "snow.py"}
    own = {"noise": {"noise.py"}, "low": {"lowlight.py"}, "haze_rain": {"haze.py", "rain.py"}}
    for recipe, files in own.items():
        for stage in ("synthesize", "shard"):
            assert families & {Path(dep).name for dep in stages[f"{stage}@{recipe}"]["deps"]} == files


def test_imports_follow_late_and_named_modules_but_not_type_checking(tmp_path: Path):
    package = tmp_path / "cea"
    package.mkdir()
    sources = {
        "a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cea.types_only\nfrom cea import b\n",
        "b": "def late():\n    from cea.c import thing\nNAMES = {'x': 'cea.named:X', 'y': 'cea.unwanted:Y'}\n",
        "c": "import os\n",
        "named": "import cea.d\n",
        "d": "",
        "unwanted": "",
        "types_only": "",
    }
    for name, source in sources.items():
        (package / f"{name}.py").write_text(source)
    found = closure("cea.a", tmp_path, lambda module: module != "cea.unwanted")
    assert {path.stem for path in found} == {"a", "b", "c", "d", "named"}


def test_files_that_are_not_code_but_are_read_are_declared(stages):
    """The report's template, style and script lie beside its code."""
    beside = {
        f"cea/report/{file.name}"
        for file in (ROOT / "cea/report").iterdir()
        if file.suffix in (".html", ".css", ".js", ".yaml")
    }
    assert beside
    assert beside <= set(stages["report"]["deps"])


def test_train_uses_the_recipes_it_is_for_and_evaluate_every_one(stages):
    train, evaluate = stages["train"]["deps"], stages["evaluate"]["deps"]
    for recipe in RECIPES:
        assert (f"data/shards/train/{recipe}" in train) == (recipe not in UNSEEN)
        assert (f"data/shards/val/{recipe}" in train) == (recipe not in UNSEEN)
        assert f"data/shards/test/{recipe}" in evaluate
    assert not [dep for dep in train if "/test/" in dep], "the test split must not reach training"
    assert not UNSEEN & set(stages["train"]["cmd"].split())
    before, _, after = stages["evaluate"]["cmd"].partition("--unseen")
    assert set(after.split()) == UNSEEN
    assert not UNSEEN & set(before.split())


def copy_of(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The project's code with other parameters and the dvc.yaml that follows from them."""
    for name in ("cea", "pipeline"):
        (tmp_path / name).symlink_to(ROOT / name)
    yaml = YAML()  # keeps the order of keys
    params = yaml.load((ROOT / "params.yaml").read_text())
    change(params)
    with (tmp_path / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    (tmp_path / "dvc.yaml").write_text(wired(tmp_path))
    return tmp_path


def test_another_unseen_recipe_leaves_training_as_it_is(tmp_path: Path):
    node = {"training": False, "nodes": {"rain": {}, "noise": {}}}
    folder = copy_of(tmp_path, lambda params: params["recipes"].update(rain_noise=node))
    stages = YAML_1_2.load((folder / "dvc.yaml").read_text())["stages"]
    assert stages["train"] == DVC["stages"]["train"]
    assert stages["evaluate"]["cmd"] == DVC["stages"]["evaluate"]["cmd"] + " rain_noise"
    check(folder)


def test_without_unseen_recipes_the_option_is_gone_and_something_must_be_trained_on(tmp_path: Path):
    folder = copy_of(tmp_path, lambda params: [recipe.pop("training", 0) for recipe in params["recipes"].values()])
    stages = YAML_1_2.load((folder / "dvc.yaml").read_text())["stages"]
    assert "--unseen" not in stages["evaluate"]["cmd"]
    assert "data/shards/val/rain_snow" in stages["train"]["deps"]
    (tmp_path / "none").mkdir()
    folder = copy_of(
        tmp_path / "none", lambda params: [recipe.update(training=False) for recipe in params["recipes"].values()]
    )
    with pytest.raises(ConfigError, match=r"every recipe says training: false"):
        check(folder)


def test_benchmarks_are_declared_and_train_depends_on_the_verdict_alone(tmp_path: Path):
    (tmp_path / "sets").mkdir()
    folder = copy_of(
        tmp_path, lambda params: params["evaluate"].update(benchmarks={"mine": {"path": str(tmp_path / "sets")}})
    )
    stages = YAML_1_2.load((folder / "dvc.yaml").read_text())["stages"]
    for name in ("leaks", "evaluate"):
        assert stages[name]["deps"][-1] == "${evaluate.benchmarks.mine.path}"
        assert stages[name]["deps"][:-1] == DVC["stages"][name]["deps"]
    assert stages["train"] == DVC["stages"]["train"]
    assert "data/leaks.json" in stages["train"]["deps"]
    assert stages["leaks"]["outs"] == ["data/leaks.json"]
    check(folder)
    (tmp_path / "sets").rmdir()
    with pytest.raises(DataError, match=r"evaluate\.benchmarks\.mine\.path"):
        check(folder)
    again = YAML().load((folder / "params.yaml").read_text())
    again["evaluate"]["benchmarks"] = {}
    with (folder / "params.yaml").open("w") as file:
        YAML().dump(again, file)
    assert wired(folder) == (ROOT / "dvc.yaml").read_text()


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
