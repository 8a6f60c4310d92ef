"""dvc.yaml tells the truth: written by hand, recipes are those of params.yaml, params are narrow, code is listed."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cea.degradations.engine.recipes import read_recipes
from cea.errors import ConfigError, DataError, InputError
from pipeline import code
from pipeline.comparison.compare import images_on_disk
from pipeline.preflight.check import RESTORED, check, check_repository

ROOT = Path(__file__).resolve().parents[2]
YAML_1_2 = YAML(typ="safe", pure=True)
PARAMS: dict[str, Any] = YAML_1_2.load((ROOT / "params.yaml").read_text())
RECIPES = list(PARAMS["recipes"])
NO_CODE = ("code",)


def resolved_stages(root: Path) -> dict[str, dict[str, Any]]:
    """Every stage instance by the name DVC gives it, with its templates filled in."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
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
        return resolved_stages(ROOT)


def test_every_stage_is_there(stages):
    expected = {"code", "ingest", "tiles", "dataset", "leaks", "train", "evaluate", "report"}
    expected |= {f"{stage}@{recipe}" for stage in ("synthesize", "shard") for recipe in RECIPES}
    assert set(stages) == expected


def test_it_is_short_enough_to_read():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 150


def test_a_module_of_the_pipeline_is_a_stage_and_short(stages):
    modules = {file.stem: file for file in (ROOT / "pipeline").glob("*.py") if file.stem not in ("__init__", "stage")}
    assert set(modules) == {name.partition("@")[0] for name in stages} | {"testset"}
    assert {name for name, file in modules.items() if len(file.read_text().splitlines()) > 80} == set()


def test_each_stage_depends_on_its_own_listing_and_on_no_code(stages):
    for name, stage in stages.items():
        if name in NO_CODE:
            continue
        stem, _, recipe = name.partition("@")
        listings = [dep for dep in stage["deps"] if dep.startswith("data/code")]
        assert listings == [f"data/code/{stem}/{recipe}.txt" if recipe else f"data/code/{stem}.txt"]
        assert not [dep for dep in stage["deps"] if dep.split("/")[0] in ("cea", "pipeline", "plugins")]


@pytest.mark.slow
def test_the_listings_are_those_that_stage_code_writes(stages, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    code.main(type("Paths", (), {"code": tmp_path / "code"})())
    written = {f"data/{path.relative_to(tmp_path)}" for path in (tmp_path / "code").rglob("*.txt")}
    wanted = {dep for stage in stages.values() for dep in stage["deps"] if dep.startswith("data/code/")}
    assert wanted | {"data/code/testset.txt"} == written
    train = (tmp_path / "code/train.txt").read_text()
    assert "cea/models/adapters/cea.py" in train
    assert "cea/models/adapters/film.py" not in train, "an adapter that is not chosen"
    assert "cea/training/progress.py" not in train
    assert "mlflow" not in train
    for name in ("page.html", "page.css", "page.js", "published.yaml"):
        assert f"cea/report/{name}" in (tmp_path / "code/report.txt").read_text()


@pytest.mark.slow
def test_a_recipe_lists_its_own_families_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    code.main(type("Paths", (), {"code": tmp_path / "code"})())
    own = {"noise": {"noise"}, "low": {"lowlight"}, "haze_rain": {"haze", "rain"}}
    for recipe, families in own.items():
        for stage in code.PER_RECIPE:
            lines = (tmp_path / f"code/{stage}/{recipe}.txt").read_text().splitlines()
            found = {Path(line.split("  ")[1]).stem for line in lines if "degradations/families/" in line}
            assert found == families


def test_the_test_split_does_not_reach_training(stages):
    assert {"data/dataset/train.json", "data/dataset/val.json"} <= set(stages["train"]["deps"])
    assert not [dep for dep in stages["train"]["deps"] if "test" in dep or "shards" in dep]
    assert "data/dataset/test.json" in stages["evaluate"]["deps"]


def copy_of(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The project's code with other parameters."""
    for name in ("cea", "pipeline", "plugins"):
        (tmp_path / name).symlink_to(ROOT / name)
    yaml = YAML()  # keeps the order of keys
    params = yaml.load((ROOT / "params.yaml").read_text())
    change(params)
    with (tmp_path / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    (tmp_path / "data/raw").mkdir(parents=True)
    return tmp_path


def test_something_must_be_trained_on(tmp_path: Path):
    folder = copy_of(tmp_path, lambda params: [recipe.update(training=False) for recipe in params["recipes"].values()])
    with pytest.raises(ConfigError, match=r"every recipe says training: false"):
        check(folder)


@pytest.mark.parametrize(
    "name", ["low+haze", "fog/rain", "my recipe", "a.b", "1st", "", "$(touch X)", None, "null", "True", 7, "a" * 65]
)
def test_a_recipe_name_that_no_file_or_metric_can_carry_is_refused(tmp_path: Path, name: object):
    folder = copy_of(tmp_path, lambda params: params["recipes"].update({name: {"nodes": {"noise": {}}}}))
    with pytest.raises(ConfigError, match="no name for a recipe"):
        check(folder)


RUN = ["sets/$(touch X)", "sets/`touch X`", 'sets/"; touch X; "', 'sets/a\\"b', "sets/a\nb"]


@pytest.mark.parametrize("path", RUN)
@pytest.mark.parametrize("key", ["testsets", "photographs"])
def test_a_path_that_a_shell_would_run_is_refused(tmp_path: Path, key: str, path: str):
    """dvc.yaml puts it between double quotes; that such a folder exists is no reason to run its name."""
    (tmp_path / path).mkdir(parents=True)
    entry = {"path": path} if key == "testsets" else path
    folder = copy_of(tmp_path, lambda params: params["evaluate"][key].update({"mine": entry}))
    with pytest.raises(ConfigError, match="which a shell would take for a command of its own"):
        check(folder)


@pytest.mark.parametrize("name", ["a b", "$(touch X)", "a;b", "1a", "a\n", "é"])
@pytest.mark.parametrize("key", ["testsets", "photographs"])
def test_a_name_of_a_set_that_a_shell_would_run_is_refused(tmp_path: Path, key: str, name: str):
    entry = {"path": "data/raw"} if key == "testsets" else "data/raw"
    folder = copy_of(tmp_path, lambda params: params["evaluate"][key].update({name: entry}))
    with pytest.raises(ConfigError, match=f"evaluate.{key}"):
        check(folder)


def test_every_value_in_a_command_is_one_that_is_checked():
    """A further template in a command has to be one of these: names by pattern, paths without characters of a shell."""
    text = (ROOT / "dvc.yaml").read_text()
    commands = [line for line in text.splitlines() if "python -m" in line or line.strip().startswith("--")]
    assert {found for line in commands for found in re.findall(r"\S*\$\{[^}]*\}\S*", line)} == {
        '"${item.path}"',
        '"${item}"',
        "${key}",
        *(f"data/{place}/${{key}}" for place in ("shards/train", "shards/val", "shards/test")),
        "data/records/${key}.parquet",
        *(f"data/testsets/{folder}${{key}}.txt" for folder in ("", "photographs/")),
    }


def change(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    def apply(params: dict[str, Any]) -> None:
        *above, last = key.split(".")
        for part in above:
            params = params[part]
        params[last] = value

    return apply


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("seed", "abc", r"seed = 'abc'.*whole number"),
        ("seed", True, r"seed = True"),
        ("recipes", None, r"recipes = None.*at least one recipe"),
        ("recipes", ["noise"], r"recipes = \['noise'\].*at least one recipe"),
        ("recipes", {}, r"recipes = \{\}"),
        ("model.adapter", "cae", r"model\.adapter: unknown adapter 'cae'.*'cea'"),
        ("model.adapter", "nowhere:Net", r"model\.adapter: .*cannot be imported"),
        ("model.equal_to", "cae", r"model\.equal_to: unknown adapter"),
        ("model.block", "nafnte", r"model\.block: unknown backbone block"),
        ("ingest.source", "bundeld", r"unknown source 'bundeld'"),
        ("ingest.sources.bundled.nmes", ["china"], r"ingest\.sources\.bundled: unknown key 'nmes'"),
        ("ingest.sources.folder.path", "~/photos", r"ingest\.sources\.folder\.path = '~/photos': no such folder"),
    ],
)
def test_a_wrong_value_is_one_line_before_anything_runs(tmp_path: Path, key: str, value: object, says: str):
    folder = copy_of(tmp_path, change(key, value))
    with pytest.raises(InputError, match=says) as caught:
        check(folder)
    assert "\n" not in str(caught.value)


def test_a_project_outside_git_is_refused_unless_dvc_was_told_so(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "unpacked archive"
    (folder / ".dvc").mkdir(parents=True)
    with pytest.raises(InputError, match=r"not a git repository.*git init && .*no_scm true") as caught:
        check_repository(folder)
    assert "\n" not in str(caught.value)
    (folder / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    check_repository(folder)
    (folder / ".dvc/config.local").unlink()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    check_repository(folder)


def test_a_plugin_with_the_name_of_a_built_in_is_refused(tmp_path: Path):
    """The built-in would be used in its place."""
    folder = copy_of(tmp_path, lambda params: None)
    (folder / "plugins").unlink()
    (folder / "plugins").mkdir()
    (folder / "plugins/rain.py").write_text(
        "from cea.degradations.contract.functions import family\n"
        "rain = family('rain', lambda rng: {'x': 1.0}, lambda image, values, rng: image)\n"
    )
    photo, out = ROOT / "metrics/example.jpg", tmp_path / "out.png"
    for command in (
        ["pipeline.preflight.check"],
        ["cea.cli", "degrade", str(photo), "--recipe", "rain", "-o", str(out)],
    ):
        path = {"PYTHONPATH": str(folder), "PATH": os.environ["PATH"]}
        done = subprocess.run([sys.executable, "-m", *command], cwd=folder, env=path, capture_output=True, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "plugins/rain.py calls a degradation 'rain'" in done.stderr
    assert not out.exists()


def test_the_first_stage_checks_all_parameters_before_it_writes(tmp_path: Path, monkeypatch):
    """DVC removes what a later stage is to replace before that stage can refuse anything."""
    folder = copy_of(tmp_path, change("report.quality", 1000))
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match=r"report\.quality = 1000"):
        code.main(type("Paths", (), {"code": folder / "data/code"})())
    assert not (folder / "data/code").exists()


def only(params: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    """``params`` without what is under none of the dotted ``keys``."""
    left: dict[str, Any] = {}
    for key in keys:
        *above, last = key.split(".")
        source, target = params, left
        for section in above:
            source, target = source[section], target.setdefault(section, {})
        target[last] = source[last]
    return left


def test_the_listings_follow_from_the_keys_that_stage_code_depends_on(stages):
    params = copy.deepcopy(PARAMS)
    params["model"] |= {"adapter": "film", "block": "restormer", "equal_to": "moe", "rank": 3, "size": "small"}
    params["ingest"]["source"] = "folder"
    rest = only(params, stages["code"]["params"])
    assert "rank" not in rest["model"]
    assert code.components(rest) == code.components(params) != code.components(PARAMS)
    assert read_recipes(rest) == read_recipes(params)


REFUSE = ("train", "evaluate", "report")
"""Stages that check all of params.yaml themselves."""


def test_each_key_is_checked_by_stage_code_or_by_the_stage_that_uses_it(stages):
    first = tuple(f"{key}." for key in stages["code"]["params"])
    for name, stage in stages.items():
        late = [key for key in stage["params"] if not f"{key}.".startswith(first)]
        assert not late or name in REFUSE, (name, late)


@pytest.mark.parametrize("stage", [pytest.param(name, marks=pytest.mark.slow) for name in REFUSE[:2]] + [REFUSE[2]])
def test_a_wrong_value_of_any_section_is_refused_as_the_stage_starts(tmp_path: Path, stage: str):
    folder = copy_of(tmp_path, change("report.quality", 1000))
    for name in ("cea", "pipeline"):  # a stage refuses to run code that lies elsewhere
        (folder / name).unlink()
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    paths = [word for name in ("dataset", "shards", "model", "state", "metrics") for word in (f"--{name}", name)]
    kept = paths if stage != "report" else paths[4:6] + paths[8:]
    command = [sys.executable, "-m", f"pipeline.{stage}", *kept]
    path = {"PYTHONPATH": str(folder), "PATH": os.environ["PATH"], "CEA_DEBUG": "0"}
    done = subprocess.run(command, cwd=folder, env=path, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("error: report.quality = 1000")
    assert RESTORED in done.stderr
    assert not (folder / "model").exists()


def test_the_folder_of_photographs_is_the_one_that_is_watched(tmp_path: Path, monkeypatch):
    (tmp_path / "photos").mkdir()
    folder = copy_of(tmp_path, change("ingest.sources.folder.path", "photos"))
    monkeypatch.chdir(folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=folder, check=True)
    assert resolved_stages(folder)["ingest"]["deps"] == ["data/code/ingest.txt", "photos"]
    assert images_on_disk(YAML_1_2.load((folder / "params.yaml").read_text())) == ["photos"]


@pytest.mark.filterwarnings("ignore")
def test_sets_of_test_images_are_watched_and_train_depends_on_the_verdict_alone(tmp_path: Path, stages, monkeypatch):
    (tmp_path / "sets").mkdir()
    folder = copy_of(
        tmp_path,
        lambda params: params["evaluate"].update(
            testsets={"mine": {"path": str(tmp_path / "sets")}}, photographs={"own": str(tmp_path / "sets")}
        ),
    )
    check(folder)
    monkeypatch.chdir(folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=folder, check=True)
    with_sets = resolved_stages(folder)
    assert with_sets["testset@mine"]["deps"] == ["data/code/testset.txt", "sets"]
    assert with_sets["photographs@own"]["deps"] == ["data/code/testset.txt", "sets"]
    for name in ("leaks", "evaluate"):
        assert "data/testsets" in with_sets[name]["deps"]
    assert with_sets["train"] == stages["train"]
    assert "data/leaks.json" in stages["train"]["deps"]
    (tmp_path / "sets").rmdir()
    with pytest.raises(DataError, match=r"evaluate\.testsets\.mine\.path"):
        check(folder)


def test_params_are_narrow(stages):
    for recipe in RECIPES:
        recipes = [key for key in stages[f"synthesize@{recipe}"]["params"] if key.startswith("recipes")]
        assert recipes == [f"recipes.{recipe}"]
        assert stages[f"shard@{recipe}"]["params"] == ["shard.samples_per_tar", "shard.store", "shard.unrenderable"]
    # Which engine, on which cluster, and where a copy goes: `code` checks it, and no data depend on it.
    assert [name for name, stage in stages.items() if "shard" in stage["params"]] == ["code"]
    for name, stage in stages.items():
        if name not in ("train", "evaluate", "report"):
            assert not {"model", "train"} & set(stage["params"]), name
