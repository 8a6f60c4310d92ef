"""Trainings that a real Slurm starts by the script of docs/several-processes.md, two processes on one node and on two.

Its daemons and both nodes are on this machine. Whoever dies, the same job goes on to the weights of one process.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import slurm
from tests.together import assert_same_weights
from tests.toy_shards import write_toy_splits

pytestmark = [pytest.mark.faults, pytest.mark.slow]
HERE = socket.gethostname().split(".")[0]
NODES = (HERE, f"{HERE}-2")
"""The first one's name is where processes meet; nobody looks for the second."""

ONE = "--nodes=1 --ntasks-per-node=2"
TWO = "--nodes=2 --ntasks-per-node=1"


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    with slurm(NODES) as environment:
        yield environment | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_splits(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def one(root: Path, shards: Path, cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a process alone ends with."""
    folder = tmp_path_factory.mktemp("one")
    command = [sys.executable, "-m", "tests.together", str(shards), str(folder), "{}"]
    subprocess.run(command, cwd=root, env=cluster, check=True, timeout=500)
    return folder


class Batch:
    """The documented script with other sizes and the toy training in the place of the stage."""

    def __init__(self, root: Path, shards: Path, folder: Path, environment: dict[str, str]) -> None:
        self.root, self.shards, self.folder, self.environment = root, shards, folder, environment

    def run(self, sizes: str, **what: object) -> tuple[str, str]:
        """Both of the following."""
        return self.end(self.start(sizes, **what))

    def start(self, sizes: str, *, srun: bool = True, **what: object) -> str:
        """The job's number.

        Args:
            sizes: nodes, and tasks on each.
            srun: the script without it, where false.
            what: the order for `tests.together`.
        """
        page = (self.root / "docs/several-processes.md").read_text()
        ((head, starter),) = re.findall(
            r"```bash\n(#!/bin/bash\n#SBATCH) .*\n(srun .*) .venv/bin/python -m pipeline.train .* \\\n.*\n```", page
        )
        toy = f"{sys.executable} -m tests.together {self.shards} {self.folder} '{json.dumps(what)}'"
        script = f"{head} {sizes}\n{starter if srun else ''} {toy}\n"
        return self.tell("sbatch", "--parsable", f"--output={self.folder}-%j.log", script=script).strip()

    def end(self, job: str) -> tuple[str, str]:
        """What Slurm calls the job's end, and what the job said."""
        deadline = time.monotonic() + 500
        while True:
            (state,) = re.findall(r"JobState=(\w+)", self.tell("scontrol", "show", "job", job))
            if state not in {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}:
                return state, Path(f"{self.folder}-{job}.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)

    def tell(self, *command: str, script: str = "") -> str:
        """What one of Slurm's commands says."""
        return subprocess.run(
            command,
            input=script,
            cwd=self.root,
            env=self.environment,
            timeout=60,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
        ).stdout


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def batch(root: Path, shards: Path, tmp_path: Path, cluster: dict[str, str]) -> Batch:
    return Batch(root, shards, tmp_path / "run", cluster)


@pytest.mark.parametrize("sizes", [ONE, TWO])
def test_two_processes_end_with_the_weights_of_one(batch: Batch, one: Path, sizes: str) -> None:
    state, said = batch.run(sizes)
    assert state == "COMPLETED", said
    assert {path.name for path in batch.folder.glob("gradients-*")} == {"gradients-0.pt", "gradients-1.pt"}
    assert_same_weights(one, batch.folder)


@pytest.mark.parametrize(("sizes", "rank"), [(ONE, 0), (ONE, 1), (TWO, 1)])
def test_a_killed_process_takes_the_other_along_and_the_same_job_goes_on(
    batch: Batch, one: Path, sizes: str, rank: int
) -> None:
    state, said = batch.run(sizes, kill_at=7, rank=rank)
    assert state == "FAILED"
    assert f"task {rank}: Killed" in said
    assert "Terminating StepId" in said
    assert not (batch.folder / "out").exists()
    state, said = batch.run(sizes)
    assert state == "COMPLETED", said
    assert_same_weights(one, batch.folder)


def test_a_cancelled_job_ends_and_goes_on(batch: Batch, one: Path) -> None:
    job = batch.start(ONE, wait_at=7)
    wait_for(lambda: len(list(batch.folder.glob("waits-*"))) == 2)
    batch.tell("scancel", job)
    state, said = batch.end(job)
    assert (state, "Traceback" in said) == ("CANCELLED", False), said
    state, said = batch.run(ONE)
    assert state == "COMPLETED", said
    assert_same_weights(one, batch.folder)


@pytest.mark.parametrize("sizes", [ONE, "--ntasks=2"])
def test_what_the_script_starts_without_srun_is_one_process(batch: Batch, one: Path, sizes: str) -> None:
    state, said = batch.end(batch.start(sizes, srun=False))
    assert state == "COMPLETED", said
    assert {path.name for path in batch.folder.glob("gradients-*")} == {"gradients-0.pt"}
    assert_same_weights(one, batch.folder)


def test_srun_of_one_task_is_one_process(batch: Batch, one: Path) -> None:
    state, said = batch.run("--ntasks=1")
    assert (state, said) == ("COMPLETED", "")
    assert_same_weights(one, batch.folder)
