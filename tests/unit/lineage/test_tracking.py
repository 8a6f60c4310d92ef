"""The store is found again, runs are found by their weights, and nothing is lost where DVC used its cache."""

from __future__ import annotations

import multiprocessing
import platform
from pathlib import Path

import pytest

from cea.errors import DataError
from cea.lineage.tracking import (
    PROCESS_TAG,
    WEIGHTS_TAG,
    LiveCurves,
    Tracker,
    TrackingConfig,
    file_sha256,
    flatten,
    tracking_uri,
)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def open_and_log(root: str, queue) -> None:
    import os

    os.environ["DVC_ROOT"] = root
    tracker = Tracker(TrackingConfig())
    with tracker.training_run("run", {"seed": 1}, {}) as run_id:
        queue.put(run_id)


def test_store_lies_in_the_project_also_from_another_folder(project: Path, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert tracking_uri() == f"sqlite:///{project / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking_uri() == "http://server:5000"


def test_a_run_keeps_params_tags_curves_files_and_datasets(project: Path):
    tracker = Tracker(TrackingConfig())
    weights = project / "weights.safetensors"
    weights.write_bytes(b"weights")
    with tracker.training_run("first", {"model": {"rank": 8, "sites": [1, 2]}}, {"git.commit": "abc"}) as run_id:
        tracker.log_datasets({"data/shards/train/low": "d41d8cd98f00b204e9800998ecf8427e.dir"}, "training")
        tracker.log_history(run_id, {"train/loss": [(step, 1.0 / (step + 1)) for step in range(2500)]})
        tracker.log_files(run_id, {weights: "model"})
        tracker.set_tags(run_id, {WEIGHTS_TAG: file_sha256(weights)})
    tracker.log_summary(run_id, {"recipes": {"low": {"gain_psnr": 3.5, "name": "low"}}})

    run = tracker.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"model.rank": "8", "model.sites": "[1, 2]"}
    assert run.data.tags["git.commit"] == "abc"
    assert run.data.metrics["recipes.low.gain_psnr"] == 3.5
    assert [d.dataset.digest for d in run.inputs.dataset_inputs] == ["d41d8cd98f00b204e9800998ecf8427e.dir"]
    assert len(tracker.client.get_metric_history(run_id, "train/loss")) == 2500
    assert [f.path for f in tracker.client.list_artifacts(run_id, "model")] == ["model/weights.safetensors"]


def test_run_is_found_by_its_weights_and_made_where_none_is_known(project: Path):
    tracker = Tracker(TrackingConfig())
    weights = project / "weights.safetensors"
    weights.write_bytes(b"weights")
    with tracker.training_run("first", {}, {}) as run_id:
        tracker.set_tags(run_id, {WEIGHTS_TAG: file_sha256(weights)})
    assert tracker.run_of(weights, {}) == run_id
    weights.write_bytes(b"other weights")
    restored = tracker.run_of(weights, {"seed": "3"})
    assert restored != run_id
    assert tracker.run_of(weights, {}) == restored
    assert tracker.client.get_run(restored).data.tags["seed"] == "3"


def test_a_failed_training_is_marked_failed(project: Path):
    tracker = Tracker(TrackingConfig())
    with pytest.raises(RuntimeError), tracker.training_run("broken", {}, {}) as run_id:
        raise RuntimeError
    assert tracker.client.get_run(run_id).info.status == "FAILED"


def test_a_run_left_open_by_a_killed_process_is_closed(project: Path):
    tracker = Tracker(TrackingConfig())
    host = platform.node()
    dead = tracker.client.create_run(tracker.experiment_id, tags={PROCESS_TAG: f"{host}:999999999"})
    elsewhere = tracker.client.create_run(tracker.experiment_id, tags={PROCESS_TAG: "another-host:1"})
    with tracker.training_run("next", {}, {}):
        pass
    assert tracker.client.get_run(dead.info.run_id).info.status == "KILLED"
    assert tracker.client.get_run(elsewhere.info.run_id).info.status == "RUNNING"


def test_live_curves_send_each_point_once_and_complete_a_resumed_run(project: Path):
    tracker = Tracker(TrackingConfig())
    with tracker.training_run("resumed", {}, {}) as run_id:
        live = LiveCurves(tracker, run_id)
        live(30, {"loss": 0.3})
        live.complete({"loss": [(10, 0.5), (20, 0.4), (30, 0.3)]})
    assert sorted(p.step for p in tracker.client.get_metric_history(run_id, "loss")) == [10, 20, 30]


def test_an_unreachable_server_is_one_clear_error(project: Path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9.*unset MLFLOW_TRACKING_URI"):
        Tracker(TrackingConfig())


@pytest.mark.slow
def test_two_processes_may_open_a_fresh_store_at_once(project: Path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=open_and_log, args=(str(project), queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len({queue.get(timeout=10), queue.get(timeout=10)}) == 2


def test_flatten_spells_values_or_keeps_numbers():
    nested = {"a": {"b": 1, "c": "x", "d": None, "e": True}}
    assert flatten(nested) == {"a.b": "1", "a.c": "x", "a.d": "null", "a.e": "true"}
    assert flatten(nested, text=False) == {"a.b": 1}


def finished(tracker: Tracker, name: str, params: dict, weights: str, summary: str | None = "{}") -> str:
    with tracker.training_run(name, params, {WEIGHTS_TAG: weights}) as run_id:
        if summary is not None:
            tracker.log_bytes(run_id, summary.encode(), "summary.json")
    return run_id


def test_other_runs_are_the_latest_with_other_weights_and_a_summary(project: Path, tmp_path: Path):
    tracker = Tracker(TrackingConfig())
    base = {"seed": 1, "train": {"steps": 10, "seed": 1}, "model": {"rank": 8}, "report": {"title": "a"}}
    again = base | {"train": {"steps": 10, "seed": 2}, "report": {"title": "b"}}
    finished(tracker, "oldest", base, "w0")
    finished(tracker, "wider", base | {"model": {"rank": 16}}, "w1", '{"gain_psnr": 1.5}')
    finished(tracker, "again", again, "w2")
    finished(tracker, "empty", base, "w3", None)
    own = finished(tracker, "own", base, "w4")
    finished(tracker, "own again", base, "w4")
    found = tracker.other_runs(own, 2, tmp_path / "runs")
    assert [run.name.split(" (")[0] for run in found] == ["again", "wider"]
    assert [run.repeat for run in found] == [True, False]
    assert found[1].summary.read_text() == '{"gain_psnr": 1.5}'
    assert tracker.other_runs(own, 0, tmp_path / "runs") == []
