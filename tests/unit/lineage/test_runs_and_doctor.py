"""``cea runs`` lists, sends and deletes; ``cea doctor`` finds what is wrong, and its --fix loses nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from cea.cli.main import app
from cea.degradations.exact import compiled
from cea.io.images import file_sha256
from cea.lineage import health
from cea.lineage.cache import folder_size, of_weights
from cea.lineage.health import lock_files, repository
from cea.lineage.liveness import PROCESS_TAG
from cea.lineage.spool import WEIGHTS_TAG
from cea.lineage.tracking import Tracker, TrackingConfig

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in git with one finished run, one that failed, and what they left in DVC's cache."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracker = Tracker(TrackingConfig())
        weights = root / "best.safetensors"
        weights.write_bytes(b"weights")
        params = {"model": {"adapter": "film", "rank": 8}, "train": {"max_steps": 30}}
        with tracker.training_run("a name that is longer than its column", params, {}) as run_id:
            tracker.log_files(run_id, {weights: "model"})
            tracker.set_tags(run_id, {WEIGHTS_TAG: file_sha256(weights)})
        tracker.log_summary(run_id, {"gain_psnr": 2.345, "training": {"seconds": 90.0, "steps": 30}})
        with pytest.raises(ValueError, match="no memory"), tracker.training_run("broken", params, {}):
            raise ValueError("no memory")
    (root / "requirements.lock").write_text("# comment\nnumpy==0.0.1\nno-such-package==1.0\n")
    (root / "dvc.lock").write_text("schema: '2.0'\nstages:\n  train:\n    cmd: python\n")
    for command in (["init", "-q"], ["add", "dvc.lock"], ["commit", "-qm", "lock"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *command], cwd=root, check=True)
    return root


@pytest.fixture(autouse=True)
def _in_project(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(store))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def run(*arguments: str, typed: str | None = None):
    return CliRunner().invoke(app, list(arguments), input=typed)


def cached(root: Path, data: bytes, suffix: str = "") -> str:
    name = hashlib.md5(data, usedforsecurity=False).hexdigest() + suffix
    place = root / ".dvc/cache/files/md5" / name[:2] / name[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return name


def recorded(root: Path, name: str, deps: list[str], outs: list[str]) -> Path:
    path = root / ".dvc/cache/runs" / name[:2] / name / name
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = {
        "cmd": name,
        "deps": [{"path": "d", "md5": d} for d in deps],
        "outs": [{"path": "o", "md5": o} for o in outs],
    }
    path.write_text(json.dumps(entry))
    return path


def test_the_list_fits_80_columns_and_holds_what_matters():
    done = run("runs")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].split()[-6:] == ["+2.35", "film", "8", "30", "1.5", "finished"]
    assert lines[1].endswith("failed")
    rows = json.loads(run("runs", "--json").output)
    assert rows[0]["error"] == "ValueError: no memory"
    assert rows[1]["gain_psnr"] == 2.345
    assert run("runs", "--sync").output == "nothing waits to be sent\n"


def test_cache_entries_go_with_their_run_but_not_what_a_lock_names(tmp_path: Path):
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(b"weights")
    object_, shared, table, empty = (cached(tmp_path, data) for data in (b"weights", b"shared", b"table", b"empty"))
    mine, others = (
        cached(tmp_path, json.dumps([{"md5": one, "relpath": "f"} for one in members]).encode(), ".dir")
        for members in ([object_, shared], [shared])
    )
    train = recorded(tmp_path, "train", [], [mine])
    evaluate = recorded(tmp_path, "evaluate", [mine], [table, empty])
    other = recorded(tmp_path, "other", [], [others, empty])
    found = of_weights(tmp_path, weights)
    assert {path.parent.name + path.name for path in found.objects} == {object_, mine, table}
    assert set(found.records) == {train, evaluate}
    (tmp_path / "dvc.lock").write_text(f"stages:\n  train:\n    outs:\n    - path: m\n      md5: {mine}\n")
    assert of_weights(tmp_path, weights).objects == ()
    (tmp_path / "dvc.lock").unlink()
    found.remove()
    assert other.is_file()
    assert not train.exists()


def test_a_folder_is_measured_while_files_come_and_go(tmp_path: Path, monkeypatch):
    (tmp_path / "deep").mkdir()
    for name in ("one", "deep/two"):
        (tmp_path / name).write_bytes(bytes(100))
    assert folder_size(tmp_path) == 200
    seen = Path.lstat

    def gone(path: Path):
        if path.name == "two":
            path.unlink()
        return seen(path)

    monkeypatch.setattr(Path, "lstat", gone)
    assert folder_size(tmp_path) == 100
    assert folder_size(tmp_path / "nothing") == 0


def test_a_run_is_deleted_for_good_after_asking(store: Path):
    tracker = Tracker(TrackingConfig())
    with tracker.training_run("to delete", {}, {}) as run_id:
        tracker.log_bytes(run_id, b"data", "file.bin")
    assert list(store.rglob("file.bin"))
    refused = run("runs", "--delete", "to delete", typed="n\n")
    assert refused.exit_code == 1
    assert list(store.rglob("file.bin"))
    done = run("runs", "--delete", run_id[:12], "--yes")
    assert done.exit_code == 0, done.output
    assert not list(store.rglob("file.bin"))
    assert run_id not in run("runs", "--json").output
    missing = run("runs", "--delete", "to delete", "--yes")
    assert (missing.exit_code, "no such run" in missing.output) == (2, True)


def test_doctor_names_what_is_wrong_and_fix_does_the_safe_part(store: Path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    tracker = Tracker(TrackingConfig())
    left = tracker.client.create_run(tracker.experiment_id, tags={PROCESS_TAG: ":1"}, start_time=1, run_name="left")
    whole = (store / "dvc.lock").read_bytes()
    (store / "dvc.lock").write_bytes(whole[:30])
    seen = run("doctor")
    assert seen.exit_code == 1
    for words in ("numpy", "no-such-package", "dvc.lock is cut short", "left open", "OMP_NUM_THREADS=3", "GB free"):
        assert words in seen.output
    assert (store / "dvc.lock").read_bytes() == whole[:30]
    mended = run("doctor", "--fix")
    assert mended.exit_code == 1  # packages are not touched
    assert mended.output.count("fixed") == 2
    assert (store / "dvc.lock").read_bytes() == whole
    assert (store / "dvc.lock.broken").read_bytes() == whole[:30]
    assert tracker.client.get_run(left.info.run_id).info.status == "KILLED"
    again = run("doctor").output
    assert "left open" not in again
    assert "cut short" not in again


def test_doctor_names_a_trainer_that_outlived_its_dvc(store: Path):
    code = "import sys, time; from pathlib import Path; from cea.training.lock import exclusive\n"
    code += "with exclusive(Path(sys.argv[1])):\n    print(flush=True)\n    time.sleep(60)"
    command = [sys.executable, "-c", code, str(store / "data/state")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as trainer:
        try:
            assert trainer.stdout is not None
            trainer.stdout.readline()
            (found,) = [one for one in lock_files(store) if one.bad]
            assert f"process {trainer.pid} trains here and its dvc is gone" in found.text
            assert found.remedy.endswith(f"kill {trainer.pid}")
        finally:
            trainer.kill()
    assert not [one for one in lock_files(store) if one.bad]


def test_doctor_says_what_git_knows(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (missing,) = repository(tmp_path)
    assert (missing.bad, "cannot be made again" in missing.text) == (True, True)
    made = tmp_path / "made"
    for command in (["init", "-q", "made"], ["-C", "made", "commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=tmp_path, check=True)
    subprocess.run(["git", "clone", "-q", "--depth", "1", made.as_uri(), "shallow"], cwd=tmp_path, check=True)
    (whole,), (shallow,) = repository(made), repository(tmp_path / "shallow")
    assert (whole.bad, whole.remedy) == (False, "")
    assert shallow.text == f"{whole.text}, a shallow clone"
    assert "--unshallow" in shallow.remedy


@pytest.mark.parametrize("says", ["not a database", "out-of-date"])
def test_doctor_names_a_store_that_cannot_be_used(store: Path, tmp_path: Path, monkeypatch, says: str):
    database = tmp_path / "mlflow.db"
    if says == "out-of-date":
        shutil.copyfile(store / "mlflow.db", database)
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
            connection.commit()
    else:
        database.write_text("a text that is long enough to be read as a database " * 9)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (found,) = [one for one in health.store(tmp_path) if one.bad]
    assert says in found.text
    assert found.remedy


def test_doctor_sees_that_a_lock_is_cut_where_it_is_still_yaml(tmp_path: Path):
    whole = "schema: '2.0'\nstages:\n  ingest:\n    cmd: python\n  train:\n    cmd: python -m train\n"
    (tmp_path / "dvc.lock").write_text(whole)
    assert [one.bad for one in lock_files(tmp_path)] == [False]
    (tmp_path / "dvc.lock").write_text(whole[:-5])
    assert [one.bad for one in lock_files(tmp_path)] == [True]


def test_doctor_says_where_shared_memory_is_too_small_for_the_decoding_processes(tmp_path: Path, monkeypatch):
    train = tmp_path / "params.yaml"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=64 << 20))
    train.write_text("train: {batch: 8, patch: 96, workers: 1}")
    (small,) = health.shared_memory(tmp_path, tmp_path)
    train.write_text("train: {batch: 32, patch: 256, workers: 8}")
    (large,) = health.shared_memory(tmp_path, tmp_path)
    train.write_text("train: {batch: 32, patch: 256, workers: 0}")
    assert not list(health.shared_memory(tmp_path, tmp_path))
    assert (small.bad, small.remedy) == (False, "")
    assert large.bad
    assert "64 MiB free, train.workers: 8 needs some 216 MiB" in large.text
    assert "--shm-size" in large.remedy


@pytest.mark.parametrize(
    ("library", "switch", "there", "says"),
    [
        ("/x/kernels.so", None, (), "compiled loops in use: kernels.so"),
        (None, "0", ("kernels.so",), "compiled loops are off: CEA_COMPILED=0"),
        (None, None, (), "no compiled loops: the same pixels take longer"),
        (None, None, ("kernels.so",), "the compiled loops are of another source or machine"),
    ],
)
def test_doctor_says_whether_the_compiled_loops_are_in_use(
    monkeypatch, tmp_path: Path, library: str | None, switch: str | None, there: tuple[str, ...], says: str
):
    for name in ("kernels.c", *there):
        (tmp_path / name).touch()
    monkeypatch.setattr(compiled, "SOURCE", tmp_path / "kernels.c")
    monkeypatch.setattr(compiled, "LIBRARY", library and SimpleNamespace(_name=library))
    monkeypatch.setenv("CEA_COMPILED", switch) if switch else monkeypatch.delenv("CEA_COMPILED", raising=False)
    found = health.loops()
    assert says in found.text
    assert not found.bad
    assert bool(found.remedy) == (library is None)
    assert ("pip install" in found.remedy) == (library is None and switch is None)
