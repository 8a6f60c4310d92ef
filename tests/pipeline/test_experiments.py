"""Eight experiments at once on two workers, two killed and one failing: every one of them is accounted for in DVC's
and MLflow's lists under its name, and each that finished is made again, identical, by ``cea reproduce``.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.pipeline.test_full_run import Project, copied
from tests.pipeline.test_reproduce import tiny

# Nine trainings, queued, killed and failing, take too long for every run: `make test-faults` has them.
pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.filterwarnings("ignore")]

LONG = "train.max_steps=5000"
"""A training that is still at work when it is killed."""

KILLED = ("killed", "killed-too")
FINISHED = ("list", "nothing", "deep", "rank-4", "rank-12")
ALL = (*KILLED, *FINISHED, "wrong")

OPEN = """
SELECT runs.name, tags.value FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = 'cea.process'
WHERE runs.status = 'RUNNING' AND EXISTS (SELECT 1 FROM latest_metrics WHERE latest_metrics.run_uuid = runs.run_uuid)
"""
"""Name and process of each run that has sent a point of its curve; no process is started for the asking."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A committed run, and behind it a queue of eight over two workers."""
    project = copied(tmp_path_factory.mktemp("experiments") / "project", cheap, photograph=False)
    project.run("dvc", "repro")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "results")
    queue(project, "killed", LONG)
    queue(project, "killed-too", LONG, "model.rank=6")
    queue(project, "rank-4", "model.rank=4")
    queue(project, "rank-12", "model.rank=12")
    queue(project, "list", "model.sites=[encoder_0, middle]", "model.adapter=film")
    queue(project, "nothing", "train.seed=null", "train.lr=0.0005")
    queue(project, "deep", "recipes.noise.nodes.noise.sigma_255=[5,10]", "ingest.sources.folder.licence=CC BY 4.0")
    queue(project, "wrong", "train.device=gpu", "model.rank=6")
    assert project.start("dvc", "queue", "start", "-j", "2").wait() == 0  # its workers outlive it, and hold its output
    kill_trainers(project)
    wait_for_queue(project)
    return project


def cheap(params: dict[str, Any]) -> None:
    """Nothing but what the list of runs needs."""
    tiny(params)
    params["evaluate"] |= {"lpips": False, "examples": {**params["evaluate"]["examples"], "affinity": 0}}


def queue(project: Project, name: str, *changes: str) -> None:
    project.run("dvc", "exp", "run", "--queue", "-n", name, *(word for change in changes for word in ("-S", change)))


def store(project: Project) -> dict[str, dict[str, Any]]:
    """Run name -> what MLflow holds of it."""
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    (experiment,) = [one for one in client.search_experiments() if one.name != "Default"]
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        curve = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
        found[run.info.run_name] = {
            **{"id": run.info.run_id, "status": run.info.status, "params": run.data.params},
            **{"tags": run.data.tags, "metrics": run.data.metrics, "curve": curve},
        }
    return found


def until(done: Callable[[], object], what: str, every_s: float) -> None:
    deadline = time.monotonic() + 3600
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(every_s)


def kill_trainers(project: Project) -> None:
    """SIGKILL for the process of each training that is to be killed, once its curve has begun."""
    left = set(KILLED)

    def kill() -> bool:
        with closing(sqlite3.connect(project.folder / "mlflow.db", timeout=60)) as connection:
            at_work = dict(connection.execute(OPEN).fetchall())
        for name in left & set(at_work):
            os.kill(int(at_work[name].split(":")[1]), signal.SIGKILL)
            left.remove(name)
        return not left

    until(kill, f"{left} never began", 0.2)


def wait_for_queue(project: Project) -> None:
    def done() -> bool:
        text = project.run("dvc", "queue", "status").stdout
        return "Queued" not in text and "Running" not in text

    until(done, "the queue does not end", 15)


def cea(project: Project, *command: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    return project.run(sys.executable, "-m", "cea.cli", *command, check=check, **more)


def listed(project: Project) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(cea(project, "runs", "--json").stdout)}


def in_dvc(project: Project) -> set[str]:
    return set(project.run("dvc", "exp", "list", "--name-only").stdout.split())


def test_every_experiment_is_one_run_under_its_name_with_what_became_of_it(project: Project):
    rows, names = listed(project), in_dvc(project)
    assert names == set(FINISHED)
    assert set(rows) == {*ALL, "cea-rank8-4steps"}
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {
        **dict.fromkeys((*FINISHED, "cea-rank8-4steps"), "finished"),
        **dict.fromkeys(KILLED, "killed"),
        "wrong": "failed",
    }
    assert [rows[name]["rank"] for name in ("rank-4", "rank-12", "killed-too")] == ["4", "12", "6"]
    assert rows["wrong"]["error"].startswith("ConfigError: train.device = 'gpu': PyTorch sees none")
    assert set(store(project)) == set(rows)


def test_values_of_every_type_arrive_as_they_were_meant(project: Project):
    runs = store(project)
    assert json.loads(runs["list"]["params"]["model.sites"]) == ["encoder_0", "middle"]
    assert runs["list"]["params"]["model.adapter"] == "film"
    assert runs["nothing"]["params"]["train.seed"] == "null"
    assert float(runs["nothing"]["params"]["train.lr"]) == 0.0005
    assert json.loads(runs["deep"]["params"]["recipes.noise.nodes.noise.sigma_255"]) == [5, 10]
    assert runs["deep"]["params"]["ingest.sources.folder.licence"] == "CC BY 4.0"
    assert runs["wrong"]["tags"]["error"].startswith("ConfigError: train.device = 'gpu'")
    assert runs["wrong"]["status"] == "FAILED"


def test_finished_ones_compare_on_parameters_curves_and_recipes(project: Project):
    runs = {name: run for name, run in store(project).items() if run["status"] == "FINISHED"}
    assert set(runs) == {*FINISHED, "cea-rank8-4steps"}
    for run in runs.values():
        assert run["curve"] == [2, 4]
        assert {"gain_psnr", "gain_psnr_db/noise", "gain_psnr_db/haze", "val/gain_psnr"} <= set(run["metrics"])
    assert len({frozenset(run["params"]) for run in runs.values()}) == 1


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_one_is_made_again_identical(project: Project, name: str):
    """The one with data of its own from the photographs on, the others from the data that all of them share."""
    start = () if name == "deep" else ("--from", "train")
    found = json.loads(cea(project, "reproduce", name, *start, "--json").stdout)
    assert (found["identical"], found["first_difference"]) == (True, None)
    assert {row["same"] for row in found["rows"]} == {True}
    assert {row["stage"] for row in found["rows"]} >= {"ingest", "synthesize@noise", "shard@noise", "train", "evaluate"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("recipes.noise.nodes.noise.sigma_25=[5,10]", "Key 'sigma_25' is not in struct"),
        ("+recipes.noise.nodes.noise.sigma_25=[5,10]", "unknown key 'sigma_25'"),
        ("+train.lrr=0.1", "unknown key 'lrr'"),
        ("recipes.noise.nodes.noise.sigma_255=[10,5]", "sigma_255"),
    ],
)
def test_a_misspelt_key_is_refused_and_costs_no_result(project: Project, change: str, says: str):
    before = project.lock()
    done = project.run("dvc", "exp", "run", "-S", change, check=False)
    project.run("git", "checkout", "-q", "--", ".")
    project.run("dvc", "checkout")
    assert done.returncode != 0
    assert says in done.stdout + done.stderr
    assert project.lock() == before
    assert (project.folder / "data/model/best.safetensors").is_file()


def test_a_killed_one_is_closed_in_the_store(project: Project):
    cea(project, "doctor", "--fix", check=False)
    assert [store(project)[name]["status"] for name in KILLED] == ["KILLED", "KILLED"]


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
