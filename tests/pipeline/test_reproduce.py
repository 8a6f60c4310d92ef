"""A run is a promise: from its record alone it is made again, and what came out otherwise is named, with the cause."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cea.lineage.record import installed, locked
from tests.pipeline.test_full_run import Project, copied, shrink

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

LOAD = """
import sys, numpy, mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
image = numpy.random.default_rng(0).integers(0, 256, (1, 40, 56, 3), dtype=numpy.uint8)
restored = model.predict(image)
print(restored.shape, restored.dtype, [name for name in sys.modules if name.startswith(("cea.training", "lightning"))])
"""

REGISTER = """
import mlflow
client = mlflow.MlflowClient()
(model,) = client.search_logged_models([one.experiment_id for one in client.search_experiments()])
version = mlflow.register_model(model.model_uri, "cea")
client.set_registered_model_alias("cea", "best", version.version)
"""


def tiny(params: dict[str, Any]) -> None:
    shrink(params)
    params["recipes"] = {name: params["recipes"][name] for name in ("noise", "haze")}
    params["ingest"]["sources"]["bundled"]["names"] = ["astronaut", "coffee", "chelsea"]
    params["ingest"]["split"] |= {"test": 0.34, "val": 0.33}
    params["train"] |= {"max_steps": 4}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """After a run, with an untracked plug-in that no recipe uses and an uncommitted change of the parameters."""
    project = copied(tmp_path_factory.mktemp("reproduced") / "project", tiny, photograph=False)
    project.params(lambda params: params["train"].update(lr=0.002))
    (project.folder / "plugins/fog.py").write_text("DENSITY = 1\n")
    project.run("dvc", "repro")
    shutil.copy2(project.folder / "metrics/report.html", project.folder.parent / "sent to somebody.html")
    project.run_id = json.loads((project.folder / "metrics/lineage.json").read_text())["run"]["id"]
    return project


def reproduce(project: Project, *options: str, **environment: str) -> tuple[int, dict[str, Any]]:
    command = (sys.executable, "-m", "cea.cli", "reproduce", *options, "--json")
    done = project.run(*command, check=False, **environment)
    assert done.returncode in (0, 1), done.stderr[-4000:]
    return done.returncode, json.loads(done.stdout)


def worktrees(project: Project) -> int:
    return len(project.run("git", "worktree", "list").stdout.splitlines())


def test_everything_that_came_of_a_run_leads_to_its_record(project: Project):
    for target in (
        project.run_id,
        "metrics/report.html",
        "metrics/summary.json",
        "data/model/best.safetensors",
        str(project.folder.parent / "sent to somebody.html"),
    ):
        status, plan = reproduce(project, target, "--dry-run")
        assert status == 0
        assert project.run_id in plan["run"]
        assert plan["untracked files"] == ["plugins/fog.py"]
        assert plan["uncommitted changes"] != "0 bytes"
        assert plan["other versions"] == {}
        wanted, here = locked((project.folder / "requirements.lock").read_text()), installed()
        differ = {name for name in wanted if here.get(name, "none").split("+")[0] != wanted[name]}
        found = plan["requirements.lock of the commit"]
        assert (set(found) == differ) if differ else (found == "as installed")
        assert ("rebuild the environment" in plan) == bool(differ)
        assert plan["time"]["not recorded"] == (["report"] if target.endswith(".html") else []), "still being written"
        assert plan["time"]["in all, s"] == pytest.approx(sum(plan["time"]["by stage, s"].values()), abs=0.1)
    done = project.run(sys.executable, "-m", "cea.cli", "reproduce", "nobody", check=False)
    assert done.returncode == 2
    assert "nobody: no run of" in done.stderr


def test_another_opencv_is_named(project: Project, tmp_path: Path):
    other = tmp_path / "opencv_python_headless-99.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: opencv-python-headless\nVersion: 99.0\n")
    _, plan = reproduce(project, project.run_id, "--dry-run", PYTHONPATH=str(tmp_path))
    assert list(plan["other versions"]) == ["opencv-python-headless"]
    assert plan["other versions"]["opencv-python-headless"].endswith("-> 99.0")


def test_the_logged_model_restores_without_our_training_code(project: Project):
    project.run(sys.executable, "-c", REGISTER, MLFLOW_TRACKING_URI=f"sqlite:///{project.folder}/mlflow.db")
    store = f"sqlite:///{project.folder}/mlflow.db"
    done = project.run(sys.executable, "-c", LOAD, "models:/cea@best", MLFLOW_TRACKING_URI=store)
    assert done.stdout.splitlines()[-1] == "(1, 40, 56, 3) uint8 []"


def test_ended_by_a_signal_it_leaves_no_worktree_and_no_stage_behind(project: Project, tmp_path: Path):
    again = project.start(sys.executable, "-m", "cea.cli", "reproduce", project.run_id, "--data", TMPDIR=str(tmp_path))
    try:
        deadline = time.monotonic() + 600
        while not list(tmp_path.glob("cea-reproduce-*/tree/data/code")):  # its first stage has ended
            assert again.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert worktrees(project) == 2
    finally:
        again.terminate()
        status = again.wait(600)
    assert status == 128 + signal.SIGTERM
    assert worktrees(project) == 1
    assert not list(tmp_path.glob("cea-reproduce-*"))
    assert not at_work_in(tmp_path)


def at_work_in(folder: Path) -> list[str]:
    """The processes in ``folder``, of those that may be looked at."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            found += [str(place)] if place.readlink().is_relative_to(folder) else []
    return found


def test_training_alone_on_what_is_proven(project: Project):
    status, found = reproduce(project, project.run_id, "--from", "train")
    assert (status, found["first_difference"]) == (0, None)
    assert found["plan"]["stages that run"] == ["tiles", "train", "evaluate", "report"]


def test_from_git_and_the_record_alone_the_run_is_made_again_identical(project: Project):
    project.wipe()
    project.run("git", "checkout", "-q", "--", ".")
    (project.folder / "plugins/fog.py").unlink()
    status, found = reproduce(project, project.run_id)
    assert (status, found["identical"], found["first_difference"]) == (0, True, None)
    assert all(row["same"] for row in found["rows"])
    stages = {row["stage"] for row in found["rows"]}
    assert {"ingest", "synthesize@haze", "shard@noise", "shard@haze", "dataset", "train", "evaluate"} <= stages
    assert worktrees(project) == 1


def test_an_edited_constant_is_named_with_the_recipe_it_changes(project: Project):
    """From the page alone: the store is gone."""
    shutil.rmtree(project.folder / "mlartifacts", ignore_errors=True)
    (project.folder / "mlflow.db").unlink(missing_ok=True)
    family = project.folder / "cea/degradations/families/haze.py"
    assert "CAP = 0.7\n" in family.read_text()
    family.write_text(family.read_text().replace("CAP = 0.7\n", "CAP = 0.6\n"))
    status, found = reproduce(project, str(project.folder.parent / "sent to somebody.html"), "--now", "--data")
    project.run("git", "checkout", "-q", "--", ".")
    assert status == 1
    assert "@haze" in found["first_difference"]
    assert "other code: cea/degradations/families/haze.py" in found["why"]
    assert all(row["same"] for row in found["rows"] if row["stage"] == "ingest" or "@noise" in row["stage"])
    assert worktrees(project) == 1


def test_a_commit_that_is_not_there_could_not_be_reproduced(project: Project, tmp_path: Path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    page = str(project.folder.parent / "sent to somebody.html")
    done = Project(tmp_path).run(sys.executable, "-m", "cea.cli", "reproduce", page, "--dry-run", check=False)
    assert done.returncode == 2
    assert "is not in this repository" in done.stderr
