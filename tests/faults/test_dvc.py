"""The whole pipeline under DVC: killed, run twice at once, on a damaged cache, with a tracking server that dies.

After each of these the guard and a plain ``dvc repro`` end with the hashes and the scores of an undisturbed run.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.test_full_run import Project, copied, shrink

Request = pytest.FixtureRequest
pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TIMED = ("metrics/training.json", "metrics/lineage.json", "metrics/cost.json", "metrics/report.html", "data/code")
"""Outputs that hold times, or the code's listings."""


def small(params: dict[str, Any]) -> None:
    shrink(params)
    params["recipes"] = {name: params["recipes"][name] for name in ("noise", "low_haze")}
    params["evaluate"]["lpips"] = False


def outputs(project: Project) -> dict[str, str]:
    """Output -> digest by dvc.lock, of everything that is the same on every run."""
    outs = [out for stage in project.lock().values() for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if out["path"] not in TIMED}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, str]]:
    project = copied(tmp_path_factory.mktemp("faults") / "project", small)
    project.run("dvc", "repro")
    return project, outputs(project)


def mend_and_finish(project: Project, expected: dict[str, str]) -> str:
    """What a user does after a fault; what the guard said."""
    said = project.run("pipeline.preflight.guard").stdout
    project.run("dvc", "repro")
    assert outputs(project) == expected
    project.run("dvc", "status", "--quiet")  # exit status 1 where anything is out of date
    return said


def dice(request: Request) -> random.Random:
    return random.Random(f"{request.config.getoption('--seed')}-{request.node.name}")


def test_dvc_killed_with_all_it_started(finished, request: Request) -> None:
    """At random moments of a run from the first stage on; every second time DVC alone, whose stage goes on."""
    project, expected = finished
    roll, kills = dice(request), max(1, request.config.getoption("--kills") // 12)
    start = time.monotonic()
    project.run("dvc", "repro", "--force", "--no-run-cache")
    whole = time.monotonic() - start
    for number in range(kills):
        running = project.start("dvc", "repro", "--force", "--no-run-cache")
        delay = roll.uniform(0, whole)
        time.sleep(delay)
        (os.kill if number % 2 else os.killpg)(running.pid, signal.SIGKILL)
        running.wait()
        sys.stdout.write(f"killed after {delay:.1f} of {whole:.1f} s\n")
        wait_for_orphans(running.pid)
        mend_and_finish(project, expected)


def wait_for_orphans(group: int) -> None:
    """Until nothing of a process group is left: a stage whose DVC was killed goes on to its end."""
    for _ in range(3000):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("a stage is still running")


def test_two_at_once(finished) -> None:
    """Both end; what one could not do for the other, the next one does."""
    project, expected = finished
    shutil.rmtree(project.folder / "data/model")
    running = [project.start("dvc", "repro", "--force", "train", "--single-item") for _ in range(2)]
    assert 0 in [one.wait(600) for one in running]
    mend_and_finish(project, expected)


@pytest.mark.parametrize("kept", [True, False], ids=["workspace there", "workspace gone"])
@pytest.mark.parametrize(
    "path", ["data/model/best.safetensors", "data/shards/test/noise/000000.tar", "data/leaks.json"]
)
def test_a_damaged_object_of_the_cache(finished, path: str, kept: bool, request: Request) -> None:
    project, expected = finished
    whole = (project.folder / path).read_bytes()
    project.run("pipeline.preflight.guard")
    (found,) = [
        one for one in (project.folder / ".dvc/cache/files").rglob("*") if one.is_file() and one.read_bytes() == whole
    ]
    found.chmod(0o644)
    flip(found, dice(request))
    if not kept:
        (project.folder / path).unlink()
    assert "was damaged" in mend_and_finish(project, expected)
    assert (project.folder / path).read_bytes() == whole


@pytest.mark.parametrize(
    "path",
    [
        "data/clean/clean.parquet",
        "data/records/noise.parquet",
        "data/shards/train/low_haze/000000.tar",
        "data/shards/val/noise/index.parquet",
        "data/dataset/train.json",
        "data/model/best.safetensors",
        "metrics/images.parquet",
    ],
)
def test_a_flipped_byte_in_the_workspace(finished, path: str, request: Request) -> None:
    project, expected = finished
    whole = (project.folder / path).read_bytes()
    flip(project.folder / path, dice(request))
    mend_and_finish(project, expected)
    assert (project.folder / path).read_bytes() == whole


def flip(path: Path, roll: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[roll.randrange(len(data))] ^= 1 << roll.randrange(8)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder, roll: os.truncate(folder / "dvc.lock", roll.randrange((folder / "dvc.lock").stat().st_size)),
        lambda folder, roll: (folder / ".dvc/tmp/rwlock").write_text('{"write": {"/x'),
    ],
    ids=["dvc.lock", "rwlock"],
)
def test_a_file_of_dvc_that_was_cut(
    finished, damage: Callable[[Path, random.Random], object], request: Request
) -> None:
    project, expected = finished
    damage(project.folder, dice(request))
    mend_and_finish(project, expected)


def test_a_tracking_server_that_is_killed_while_a_training_sends_to_it(finished, tmp_path: Path) -> None:
    """The training ends as it would have; its record waits in the project's folder and is sent later."""
    project, expected = finished
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    store = f"sqlite:///{tmp_path / 'server.db'}"
    options = ["--backend-store-uri", store, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *options],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_open(port, server)
        address = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
        training = project.start("dvc", "repro", "--force", "--single-item", "train", **address)
        state = project.folder / "data/state"
        while training.poll() is None and not list(state.glob("resume-*.ckpt")):
            time.sleep(0.05)
        os.killpg(server.pid, signal.SIGKILL)
        assert training.wait(600) == 0
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    waiting = [
        json.loads(path.read_bytes())["kind"] for path in (project.folder / ".mlflow-spool").rglob("[0-9]*.json")
    ]
    assert "end" in waiting
    shutil.rmtree(project.folder / ".mlflow-spool")
    mend_and_finish(project, expected)


def until_open(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(6000):
        assert server.poll() is None
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server does not answer")
