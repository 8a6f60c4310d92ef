"""Experiments of every kind end in one MLflow experiment, under DVC's names, each with what became of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.test_full_run import Project, copied
from tests.pipeline.test_reproduce import tiny

# Ten trainings, queued, killed and failing, take too long for every run: `make test-faults` has them.
pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.filterwarnings("ignore")]

RUNS = """
import json
from mlflow import MlflowClient
client = MlflowClient(f"sqlite:///{__import__('pathlib').Path('mlflow.db').resolve()}")
(experiment,) = [one for one in client.search_experiments() if one.name != "Default"]
found = {}
for run in client.search_runs([experiment.experiment_id]):
    curve = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
    found[run.info.run_name] = {"id": run.info.run_id, "status": run.info.status, "params": run.data.params,
        "tags": run.data.tags, "metrics": run.data.metrics, "curve": curve}
print(json.dumps(found))
"""

LONG = "train.max_steps=5000"
"""A training that is still at work when it is killed."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A committed run, and behind it a queue of six over two workers: one fails, one is killed."""
    project = copied(tmp_path_factory.mktemp("experiments") / "project", tiny, photograph=False)
    project.run("dvc", "repro")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "results")
    queue(project, "killed", LONG)
    queue(project, None, "model.rank=range(4,13,8)")
    queue(project, "list", "model.sites=[encoder_0, middle]", "model.adapter=film")
    queue(project, "nothing", "train.seed=null", "train.lr=0.0005")
    queue(project, "wrong", "train.device=gpu", "model.rank=6")
    assert project.start("dvc", "queue", "start", "-j", "2").wait() == 0  # its workers outlive it, and hold its output
    kill_trainer(project, "killed")
    wait_for_queue(project)
    return project


def queue(project: Project, name: str | None, *changes: str) -> None:
    named = [] if name is None else ["-n", name]
    project.run("dvc", "exp", "run", "--queue", *named, *(word for change in changes for word in ("-S", change)))


def store(project: Project) -> dict[str, dict[str, Any]]:
    """Run name -> what MLflow holds of it."""
    if not (project.folder / "mlflow.db").is_file():
        return {}
    done = project.run(sys.executable, "-c", RUNS, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}


def kill_trainer(project: Project, name: str) -> None:
    """SIGKILL for the process of a run's training, once its curve has begun."""
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        run = store(project).get(name)
        if run is not None and run["curve"]:
            os.kill(int(run["tags"]["cea.process"].split(":")[1]), signal.SIGKILL)
            return
        time.sleep(0.5)
    raise AssertionError(f"{name} never began")


def wait_for_queue(project: Project) -> None:
    deadline = time.monotonic() + 1800
    while time.monotonic() < deadline:
        text = project.run("dvc", "queue", "status").stdout
        if "Queued" not in text and "Running" not in text:
            return
        time.sleep(2)
    raise AssertionError(text)


def cea(project: Project, *command: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    return project.run(sys.executable, "-m", "cea.cli", *command, check=check, **more)


def listed(project: Project) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(cea(project, "runs", "--json").stdout)}


def in_dvc(project: Project) -> set[str]:
    return set(project.run("dvc", "exp", "list", "--name-only").stdout.split())


def test_every_experiment_is_one_run_under_its_name_with_what_became_of_it(project: Project):
    rows, names = listed(project), in_dvc(project)
    assert names < set(rows)
    assert {rows[name]["state"] for name in names} == {"finished"}
    assert sorted(rows[name]["rank"] for name in names - {"list", "nothing"}) == ["12", "4"]
    assert {name: rows[name]["state"] for name in ("killed", "wrong")} == {"killed": "killed", "wrong": "failed"}
    assert rows["wrong"]["error"].startswith("ConfigError: train.device = 'gpu': PyTorch sees none")
    assert set(rows) - names == {"cea-rank8-4steps", "killed", "wrong"}


def test_values_of_every_type_arrive_as_they_were_meant(project: Project):
    runs = store(project)
    assert json.loads(runs["list"]["params"]["model.sites"]) == ["encoder_0", "middle"]
    assert runs["list"]["params"]["model.adapter"] == "film"
    assert runs["nothing"]["params"]["train.seed"] == "null"
    assert float(runs["nothing"]["params"]["train.lr"]) == 0.0005
    assert runs["wrong"]["tags"]["error"].startswith("ConfigError: train.device = 'gpu'")
    assert runs["wrong"]["status"] == "FAILED"


def test_finished_ones_compare_on_parameters_curves_and_recipes(project: Project):
    runs = [run for run in store(project).values() if run["status"] == "FINISHED"]
    assert len(runs) == 5
    for run in runs:
        assert run["curve"] == [2, 4]
        assert {"gain_psnr", "gain_psnr_db/noise", "gain_psnr_db/haze", "val/gain_psnr"} <= set(run["metrics"])
    assert len({frozenset(run["params"]) for run in runs}) == 1


def test_a_killed_one_is_closed_in_the_store(project: Project):
    cea(project, "doctor", "--fix", check=False)
    assert store(project)["killed"]["status"] == "KILLED"


def test_temp_is_in_the_same_list(project: Project):
    before = project.lock()
    project.run("dvc", "exp", "run", "--temp", "-n", "aside", "-S", "model.rank=2")
    assert listed(project)["aside"]["rank"] == "2"
    assert project.lock() == before


def test_apply_branch_rename_and_remove_leave_the_run_as_it_is(project: Project):
    run = store(project)["list"]
    project.run("dvc", "exp", "apply", "list")
    weights = project.folder / "data/model/best.safetensors"
    facts = json.loads(cea(project, "trace", str(weights.relative_to(project.folder)), "--json").stdout)
    assert facts["runs"][0]["id"] == run["id"]
    project.run("git", "checkout", "-q", "--", ".")
    project.run("dvc", "checkout")
    project.run("dvc", "exp", "branch", "list", "list-branch")
    project.run("dvc", "exp", "rename", "list", "renamed")
    assert "renamed" in in_dvc(project)
    project.run("dvc", "exp", "remove", "renamed")
    assert not {"list", "renamed"} & in_dvc(project)
    assert store(project)["list"] == run


def test_delete_asks_and_then_removes_run_artifacts_and_cache(project: Project):
    run = store(project)["nothing"]
    artifacts = next(project.folder.glob(f"mlartifacts/**/{run['id']}"))
    weights = next(artifacts.rglob("best.safetensors")).read_bytes()
    held = [path for path in (project.folder / ".dvc/cache/files").rglob("*") if same(path, weights)]
    assert held
    refused = subprocess.run(
        [sys.executable, "-m", "cea.cli", "runs", "--delete", "nothing"],
        cwd=project.folder,
        env=project.environment(),
        input="n\n",
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1
    assert artifacts.is_dir()
    assert "0 files of DVC's cache" in refused.stdout  # the experiment still names them
    project.run("dvc", "exp", "remove", "nothing")
    cea(project, "runs", "--delete", "nothing", "--yes")
    assert "nothing" not in listed(project)
    assert not artifacts.exists()
    assert not [path for path in held if path.exists()]
    assert "up to date" in project.run("dvc", "status").stdout


def same(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
