"""Results that leave the machine: data in S3, runs on a server with PostgreSQL, a server that dies. Real servers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.pipeline.test_full_run import Project, copied
from tests.pipeline.test_reproduce import tiny
from tests.servers import HOST, S3_KEYS, end, free_port, mlflow_server, postgresql, s3

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

BUCKET = "bucket"
CURVE = "train/loss"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """After a run that is committed; its records are in its own folder."""
    project = copied(tmp_path_factory.mktemp("remotes") / "project", tiny, photograph=False)
    project.run("dvc", "repro")
    commit(project)
    return project


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3(tmp_path_factory.mktemp("s3"), BUCKET) as address:
        yield address


def commit(project: Project) -> None:
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "results")


def cea(project: Project, *command: str, **environment: str) -> str:
    return project.run(sys.executable, "-m", "cea.cli", *command, **environment).stdout


def finished(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        assert process.wait(timeout=900) == 0


def run_named(client: MlflowClient, name: str) -> Run:
    (run,) = [run for run in all_runs(client) if run.info.run_name == name]
    return run


def all_runs(client: MlflowClient) -> list[Run]:
    return list(client.search_runs([one.experiment_id for one in client.search_experiments()]))


def steps(client: MlflowClient, run: Run) -> list[int]:
    return sorted(point.step for point in client.get_metric_history(run.info.run_id, CURVE))


def artifacts(client: MlflowClient, run: Run) -> set[str]:
    return {file.path for folder in ("", "model", "record") for file in client.list_artifacts(run.info.run_id, folder)}


WHOLE = {"model/best.safetensors", "model/history.parquet", "record/record.json", "summary.json", "report.html"}
"""What a run holds that was trained, judged and reported."""


def test_what_was_pushed_to_s3_leaves_nothing_to_run_in_another_clone(project: Project, storage: str, tmp_path: Path):
    project.run("dvc", "remote", "add", "--default", "storage", f"s3://{BUCKET}/cea")
    project.run("dvc", "remote", "modify", "storage", "endpointurl", storage)
    commit(project)
    project.run("dvc", "push", "--run-cache", **S3_KEYS)
    project.run("git", "clone", "-q", str(project.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.run("dvc", "pull", "--run-cache", **S3_KEYS)
    assert "up to date" in clone.run("dvc", "status").stdout
    out = clone.run("dvc", "repro").stdout
    assert "up to date" in out
    assert "Running stage" not in out
    assert not clone.run("git", "status", "--porcelain").stdout
    for path in ("data/model/best.safetensors", "metrics/report.html", "data/clean/clean.parquet"):
        assert (clone.folder / path).read_bytes() == (project.folder / path).read_bytes()
    clone.params(lambda params: params["report"].update(quality=params["report"]["quality"] - 1))
    ran = [line for line in clone.run("dvc", "repro").stdout.splitlines() if line.startswith("Running stage")]
    assert ran == ["Running stage 'report':"]


def test_two_runs_at_once_are_whole_on_a_server_with_postgresql(project: Project, storage: str, tmp_path: Path):
    port = free_port()
    address = f"http://{HOST}:{port}"
    keys = S3_KEYS | {"MLFLOW_S3_ENDPOINT_URL": storage}
    with postgresql() as database, mlflow_server(tmp_path, database, f"s3://{BUCKET}/runs", port, keys):
        server = {"MLFLOW_TRACKING_URI": address}
        names = ("first", "second")
        for seed, name in enumerate(names, 5):
            project.run("dvc", "exp", "run", "--queue", "-n", name, "-S", f"train.seed={seed}")
        project.run("dvc", "exp", "run", "--run-all", "-j", "2", **server)
        client = MlflowClient(address)
        for seed, name in enumerate(names, 5):
            run = run_named(client, name)
            assert (run.info.status, run.data.params["train.seed"]) == ("FINISHED", str(seed))
            assert steps(client, run) == [2, 4]
            assert artifacts(client, run) >= WHOLE
            assert run.data.metrics["gain_psnr"] == pytest.approx(
                run.data.metrics["output_psnr_db"] - json.loads(summary(client, run, tmp_path))["input_psnr"], abs=2e-4
            )
        rows = json.loads(cea(project, "runs", "--json", **server))
        assert {row["name"]: row["state"] for row in rows} == dict.fromkeys(names, "finished")
        again = json.loads(cea(project, "reproduce", "first", "--from", "train", "--json", **server))
        assert (again["identical"], again["first_difference"]) == (True, None)
        assert len(all_runs(client)) == 2


def summary(client: MlflowClient, run: Run, folder: Path) -> str:
    return Path(client.download_artifacts(run.info.run_id, "summary.json", str(folder))).read_text()


def test_a_server_that_is_killed_does_not_cost_the_training(project: Project, tmp_path: Path):
    """Killed once the first points of the curve are there, and back after everything has ended."""
    port = free_port()
    address = f"http://{HOST}:{port}"
    server = {"MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    place = (tmp_path, f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"), port)
    with mlflow_server(*place) as group:
        client = MlflowClient(address)
        training = project.start(
            *("dvc", "exp", "run", "--temp", "-n", "brave", "-S", "train.max_steps=60", "-S", "train.log_interval=1"),
            **server,
        )
        seen = wait_for_points(client, training)
        end(group)
    finished(training)
    alone = project.run(sys.executable, "-m", "cea.cli", "runs", check=False, **server)
    assert (alone.returncode, alone.stdout.split()[-2:]) == (0, ["not", "sent"])
    with mlflow_server(*place):
        assert len(steps(client, run_named(client, "brave"))) < 60
        assert cea(project, "runs", "--sync", **server) == f"sent: {seen}\n"
        run = run_named(client, "brave")
        assert (run.info.status, run.info.run_id) == ("FINISHED", seen)
        assert steps(client, run) == list(range(1, 61))
        assert artifacts(client, run) >= WHOLE
        assert "gain_psnr" in run.data.metrics
        assert not any(project.folder.glob(".mlflow-spool/*/"))


def wait_for_points(client: MlflowClient, training: subprocess.Popen[bytes]) -> str:
    """The id of the run that has sent the first points of its curve."""
    while training.poll() is None:
        for run in all_runs(client):
            if CURVE in run.data.metrics:
                return str(run.info.run_id)
        time.sleep(0.2)
    raise AssertionError("the training ended before it had sent anything")
