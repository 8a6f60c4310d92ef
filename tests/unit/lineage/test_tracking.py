"""The store is found again, runs are found by their weights, and nothing is lost where DVC used its cache."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from cea.errors import ConfigError, DataError
from cea.io.images import file_sha256, read_rgb
from cea.lineage.cache import CacheEntries
from cea.lineage.facts import CODE_TAG
from cea.lineage.liveness import ALIVE_TAG, PROCESS_TAG
from cea.lineage.other_runs import OtherRun
from cea.lineage.record import FOLDER, Record, Source, write_record
from cea.lineage.runs import delete_run, find_run, list_runs, send_waiting, waiting_runs
from cea.lineage.spool import WEIGHTS_TAG
from cea.lineage.store import open_store, tracking_uri
from cea.lineage.stored import find_record
from cea.lineage.tracking import NamedData, Tracker, TrackingConfig, flatten
from cea.lineage.training import LiveCurves, tracked

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: MLflow takes seconds to make a database."""
    place = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(place))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        open_store("cea")
    return place / "mlflow.db"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, tmp_path)
    return tmp_path


def open_and_log(root: str, queue) -> None:
    import os

    os.environ["DVC_ROOT"] = root
    tracker = Tracker(TrackingConfig())
    with tracker.training_run("run", {"seed": 1}, {}) as run_id:
        queue.put(run_id)


def test_a_folder_whose_name_would_cut_the_address_short_is_refused(tmp_path: Path, monkeypatch):
    """SQLite's address ends at a question mark: the database would lie outside the project."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "what?"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match=r"the path holds a '\?'; expected a path that SQLite's address can hold"):
        Tracker(TrackingConfig())


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
        data = NamedData("train", "d41d8cd98f00b204e9800998ecf8427e", "train.json", 7, {"low": 7}, "training")
        tracker.log_datasets(run_id, [data])
        tracker.log_history(run_id, {"train/loss": [(step, 1.0 / (step + 1)) for step in range(2500)]})
        tracker.log_files(run_id, {weights: "model"})
        tracker.set_tags(run_id, {WEIGHTS_TAG: file_sha256(weights)})
    tracker.log_summary(run_id, {"recipes": {"low": {"gain_psnr": 3.5, "name": "low"}}})

    run = tracker.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"model.rank": "8", "model.sites": "[1, 2]"}
    assert run.data.tags["git.commit"] == "abc"
    assert run.data.metrics["gain_psnr_db/low"] == 3.5
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("train", "d41d8cd98f00b204e9800998ecf8427e")
    assert json.loads(entry.dataset.profile) == {"images": 7}
    assert run.data.tags["mlflow.source.git.commit"] == "abc"
    assert run.data.tags["mlflow.user"]
    assert f"cea reproduce {run_id}" in run.data.tags["mlflow.note.content"]
    assert {"lineage.json", "datasets.json"} <= {file.path for file in tracker.client.list_artifacts(run_id)}
    assert len(tracker.client.get_metric_history(run_id, "train/loss")) == 2500
    assert [f.path for f in tracker.client.list_artifacts(run_id, "model")] == ["model/weights.safetensors"]


def test_a_training_names_its_parent_and_keeps_pictures_on_the_way(project: Path, monkeypatch: pytest.MonkeyPatch):
    """``train.init`` and the pictures of each validation, as the stage hands them over."""
    monkeypatch.chdir(project)
    digest = "ab" * 32
    with tracked(
        {"seed": 1, "tracking": {}, "train": {"fast": True, "patches": [[0, 64]]}}, "tuned", parent=digest
    ) as run:
        run.show(500, np.zeros((8, 24, 3), np.uint8))
        run.show(1000, np.full((8, 24, 3), 255, np.uint8))
    assert run.facts["parent"] == {"sha256": digest}
    client = run.tracker.client
    kept = client.get_run(run.run_id).data
    assert kept.tags["parent.sha256"] == digest
    assert (kept.params["train.fast"], kept.params["train.patches"]) == ("true", "[[0, 64]]")
    names = sorted(file.path for file in client.list_artifacts(run.run_id, "validation"))
    assert names == ["validation/step-0000500.png", "validation/step-0001000.png"]
    assert read_rgb(Path(client.download_artifacts(run.run_id, names[1]))).min() == 255


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
        raise RuntimeError("no memory\nmore")
    run = tracker.client.get_run(run_id)
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "RuntimeError: no memory")
    with pytest.raises(KeyboardInterrupt), tracker.training_run("stopped", {}, {}) as run_id:
        raise KeyboardInterrupt
    assert tracker.client.get_run(run_id).info.status == "KILLED"


def test_a_run_left_open_by_a_killed_process_is_closed(project: Path):
    tracker = Tracker(TrackingConfig())
    host = platform.node()
    dead = tracker.client.create_run(tracker.experiment_id, tags={PROCESS_TAG: f"{host}:999999999"})
    reused = tracker.client.create_run(tracker.experiment_id, tags={PROCESS_TAG: f"{host}:{os.getpid()}:1:"})
    elsewhere, silent = (
        tracker.client.create_run(
            tracker.experiment_id, tags={PROCESS_TAG: "another-host:1:2:boot-1", ALIVE_TAG: str(time.time() - age)}
        )
        for age in (60, 3600)
    )
    with tracker.training_run("next", {}, {}):
        pass
    states = [tracker.client.get_run(run.info.run_id).info.status for run in (dead, reused, silent, elsewhere)]
    assert states == ["KILLED", "KILLED", "KILLED", "RUNNING"]


def test_live_curves_send_each_point_once_and_complete_a_resumed_run(project: Path):
    tracker = Tracker(TrackingConfig())
    with tracker.training_run("resumed", {}, {}) as run_id:
        live = LiveCurves(tracker, run_id)
        live(30, {"train/loss": 0.3, "adapters/middle/effective_rank_a": 2.0})
        live.complete({"train/loss": [(10, 0.5), (20, 0.4), (30, 0.3)], "train/grad_norm": [(10, 1.0)]})
    assert sorted(p.step for p in tracker.client.get_metric_history(run_id, "train/loss")) == [10, 20, 30]
    assert set(tracker.client.get_run(run_id).data.metrics) == {"train/loss"}


def test_a_store_that_is_down_from_the_start_costs_nothing(project: Path, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    weights = project / "best.safetensors"
    weights.write_bytes(b"weights")
    tracker = Tracker(TrackingConfig())
    assert "cea runs --sync" in caplog.text
    with tracker.training_run("lonely", {"model": {"rank": 8}}, {}) as run_id:
        LiveCurves(tracker, run_id)(10, {"train/loss": 0.5})
        tracker.log_files(run_id, {weights: "model"})
        tracker.set_tags(run_id, {WEIGHTS_TAG: file_sha256(weights)})
        tracker.log_model(run_id, "model/best.safetensors")
    later = Tracker(TrackingConfig())
    assert later.run_of(weights, {}) == run_id
    later.log_summary(run_id, {"gain_psnr": 1.5})
    assert [row.state for row in list_runs()] == ["not sent"]

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (sent,) = send_waiting()
    client, run = find_run(sent)
    assert (run.info.run_name, run.info.status, run.data.params) == ("lonely", "FINISHED", {"model.rank": "8"})
    assert run.data.metrics == {"train/loss": 0.5, "gain_psnr": 1.5}
    assert [file.path for file in client.list_artifacts(sent, "model")] == ["model/best.safetensors"]
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert (model.name, model.source_run_id) == ("restorer", sent)
    assert send_waiting() == []
    assert len(list_runs()) == 1


def test_a_store_that_dies_during_training_does_not_stop_it(project: Path, monkeypatch):
    tracker = Tracker(TrackingConfig())
    with tracker.training_run("brave", {}, {}) as run_id:
        live = LiveCurves(tracker, run_id)
        live(10, {"train/loss": 0.5})
        monkeypatch.setattr(tracker.client, "log_batch", refuse)
        live(20, {"train/loss": 0.4})
        live(30, {"train/loss": 0.3})
    assert not tracker.online
    assert [(row.state, row.id) for row in list_runs()] == [("not sent", run_id)]
    Tracker(TrackingConfig())  # a later stage finds the store well again, and sends
    client, run = find_run(run_id)
    assert run.info.status == "FINISHED"
    assert [p.step for p in client.get_metric_history(run_id, "train/loss")] == [10, 20, 30]


def test_a_store_that_takes_no_models_costs_no_record(project: Path, monkeypatch, caplog):
    """It answers, so that it is not taken for one that is down: what comes after is sent."""
    caplog.set_level("INFO")
    weights = project / "best.safetensors"
    weights.write_bytes(b"weights")
    tracker = Tracker(TrackingConfig())
    monkeypatch.setattr("mlflow.pyfunc.log_model", refuse)
    with tracker.training_run("plain", {}, {}) as run_id:
        tracker.log_files(run_id, {weights: "model"})
        tracker.log_model(run_id, "model/best.safetensors")
    assert tracker.online
    assert "the model is not logged in MLflow: " in caplog.text
    assert [(row.state, row.id) for row in list_runs()] == [("finished", run_id)]


def refuse(*_: object, **__: object) -> None:
    raise ConnectionError("the server went away")


@pytest.mark.parametrize("uri", ["localhost:5000", "file:/tmp/runs", "file:///tmp/runs", "/tmp/runs"])
def test_what_is_no_address_of_a_store_is_refused_before_anything_runs(project: Path, monkeypatch, uri: str):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ConfigError, match=r"not the address of a store; expected http.*; write "):
        Tracker(TrackingConfig())


def damage(project: Path, how: str) -> str:
    tracker = Tracker(TrackingConfig())
    database = project / "mlflow.db"
    if how == "deleted":
        tracker.client.delete_experiment(tracker.experiment_id)
        return "was deleted in MLflow.*mlflow experiments restore"
    if how == "corrupt":
        database.write_bytes(b"no database" * 1000)
        return "not a database.*move the file away"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        connection.commit()
    return "requirements.lock"


@pytest.mark.parametrize("how", ["deleted", "corrupt", "schema"])
def test_a_store_that_cannot_be_used_is_one_line_and_stops_nothing(project: Path, how: str, caplog):
    expected = damage(project, how)
    with pytest.raises(DataError, match=expected) as caught:
        open_store_anew()
    assert "\n" not in str(caught.value)
    with Tracker(TrackingConfig()).training_run("goes on", {}, {}):
        pass
    assert [len(line.getMessage().splitlines()) for line in caplog.records if "tracking:" in line.message] == [1]


def open_store_anew() -> None:
    from mlflow.tracking._tracking_service.utils import _get_store

    _get_store.__globals__["_tracking_store_registry"]._get_store_with_resolved_uri.cache_clear()
    open_store("cea", create=False)


def test_a_project_that_was_copied_keeps_its_artifacts_to_itself(project: Path, monkeypatch, tmp_path_factory):
    tracker = Tracker(TrackingConfig())
    with tracker.training_run("first", {}, {}) as run_id:
        pass
    copy = tmp_path_factory.mktemp("copy") / "a project"
    shutil.copytree(project, copy)
    before = sorted(project.rglob("*"))
    monkeypatch.setenv("DVC_ROOT", str(copy))
    _artifact_repos_cache.clear()  # a process meets one project only
    moved = Tracker(TrackingConfig())
    moved.log_bytes(run_id, b"new", "new.txt")
    with moved.training_run("second", {}, {}) as second:
        moved.log_bytes(second, b"new", "new.txt")
    assert sorted(project.rglob("*")) == before
    assert len(list(copy.rglob("new.txt"))) == 2


def test_a_renamed_project_finds_its_records_first_of_all(project: Path, monkeypatch, tmp_path_factory):
    """MLflow knows artifacts by their absolute place, which no command has corrected yet."""
    nobody = Source("unknown", "unknown", "unknown", "", "false")
    tracker = Tracker(TrackingConfig())
    with tracker.training_run("moved", {}, {}) as run_id:
        record = Record(run_id, "moved", nobody, {}, {}, {}, {}, {}, {}, {}, {}, [], {"train": 2.0})
        write_record(record, project / "written")
        tracker.log_files(run_id, {project / "written": FOLDER})
        tracker.log_bytes(run_id, b'{"seconds": 3.5}', "seconds/evaluate.json")
    renamed = tmp_path_factory.mktemp("elsewhere") / "renamed, with spaces"
    project.rename(renamed)
    monkeypatch.setenv("DVC_ROOT", str(renamed))
    found = find_record("moved")
    assert found.record == replace(record, seconds={"train": 2.0, "evaluate": 3.5})
    assert found.summary is None


def test_the_same_weights_in_a_new_run_keep_their_figures(project: Path):
    tracker = Tracker(TrackingConfig())
    weights = project / "best.safetensors"
    weights.write_bytes(b"weights")
    for name in ("first", "again"):
        with tracker.training_run(name, {}, {}) as run_id:
            tracker.set_tags(run_id, {WEIGHTS_TAG: file_sha256(weights)})
            tracker.adopt_evaluation(run_id, weights)
        if name == "first":
            tracker.log_summary(run_id, {"gain_psnr": 2.5, "training": {"seconds": 3.0}})
            tracker.log_bytes(run_id, b"{}", "summary.json")
    run = tracker.client.get_run(run_id)
    assert (run.info.run_name, run.data.metrics) == ("again", {"gain_psnr": 2.5})
    assert "summary.json" in [file.path for file in tracker.client.list_artifacts(run_id)]


@pytest.mark.slow
def test_two_processes_may_open_a_fresh_store_at_once(project: Path):
    (project / "mlflow.db").unlink()
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


def finished(
    tracker: Tracker, name: str, params: dict, weights: str, summary: str | None = "{}", code: str = "c"
) -> str:
    with tracker.training_run(name, params, {WEIGHTS_TAG: weights, CODE_TAG: code}) as run_id:
        if summary is not None:
            tracker.log_bytes(run_id, summary.encode(), "summary.json")
    return run_id


def test_other_runs_are_the_latest_with_other_weights_and_a_summary(project: Path, tmp_path: Path):
    tracker = Tracker(TrackingConfig())
    base: dict = {"seed": 1, "train": {"steps": 10, "seed": 1}, "model": {"rank": 8}, "report": {"title": "a"}}
    again = base | {"train": {"steps": 10, "seed": 2}, "report": {"title": "b"}}
    finished(tracker, "oldest", base, "w0")
    finished(tracker, "wider", base | {"model": {"rank": 16}}, "w1", '{"gain_psnr": 1.5}')
    finished(tracker, "again", again, "w2")
    finished(tracker, "empty", base, "w3", None)
    own = finished(tracker, "own", base, "w4")
    finished(tracker, "own again", base, "w4")
    finished(tracker, "other code", again, "w5", code="d")
    found = tracker.other_runs(own, 3, tmp_path / "runs")
    assert [run.name.split(" (")[0] for run in found] == ["other code", "again", "wider"]
    assert [run.repeat for run in found] == [False, True, False]
    assert found[2].summary.read_text() == '{"gain_psnr": 1.5}'
    assert tracker.other_runs(own, 0, tmp_path / "runs") == []
    assert [run.changes for run in found] == [{"train.seed": "2"}, {"train.seed": "2"}, {"model.rank": "16"}]


def test_a_run_is_told_in_a_few_words():
    changes = {"train.max_steps": "40", **{f"model.key{index}": str(index) for index in range(6)}}
    run = OtherRun("a", Path("x"), repeat=False, steps="40", changes=changes)
    assert run.about == "40 steps, model.key0 0, model.key1 1, model.key2 2, model.key3 3, 2 more parameters"
    assert OtherRun("a", Path("x"), repeat=False).about == ""


def test_what_waits_for_another_store_holds_nothing_up(project: Path, monkeypatch, empty_store: Path):
    """The remedy for a server that is gone is to use one's own store: what waits for the server then stays."""
    elsewhere = f"sqlite:///{project}/elsewhere.db"
    shutil.copy(empty_store, project / "elsewhere.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere)
    tracker = Tracker(TrackingConfig())
    with tracker.training_run("began elsewhere", {}, {}) as run_id:
        monkeypatch.setattr(tracker.client, "log_batch", refuse)
        tracker.set_tags(run_id, {"late": "yes"})
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    later = Tracker(TrackingConfig())
    assert later.online
    with later.training_run("here", {}, {}):
        pass
    assert send_waiting() == []
    assert {(row.name, row.state) for row in list_runs()} == {("began elsewhere", "not sent"), ("here", "finished")}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere)
    assert send_waiting() == [run_id]
    assert Tracker(TrackingConfig()).client.get_run(run_id).data.tags["late"] == "yes"


def test_what_waits_for_a_deleted_run_goes_with_it(project: Path, monkeypatch):
    tracker = Tracker(TrackingConfig())
    with tracker.training_run("unwanted", {}, {}) as run_id:
        monkeypatch.setattr(tracker.client, "log_batch", refuse)
        tracker.set_tags(run_id, {"late": "yes"})
    client, _ = find_run(run_id)
    client.set_terminated(run_id)  # its own end still waits
    delete_run(*find_run(run_id), CacheEntries((), ()))
    assert waiting_runs() == []


def test_a_run_that_could_not_begin_does_not_stop_the_next(project: Path):
    """A full disk leaves its folder without run.json."""
    (project / ".mlflow-spool" / f"offline-{'0' * 32}").mkdir(parents=True)
    Tracker(TrackingConfig())
