"""A container with a small /dev/shm: the training ends in one line that names it, not in PyTorch's traceback."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from cea.errors import DataError
from cea.training.data import TimedLoader

SCRIPT = """
import torch
from cea.errors import one_line
from cea.training.data import TimedLoader

class Patches(torch.utils.data.Dataset):
    def __getitem__(self, place):
        return (torch.zeros(3, 96, 96, dtype=torch.uint8),) * 2

try:
    print(len(list(TimedLoader(Patches(), batch_sampler=[list(range(8))] * 4, num_workers=1))))
except Exception as error:
    print(one_line(error))
"""
"""Four batches of 442 kB."""

IN_A_SMALL_ONE = ("unshare", "--mount", "--map-root-user", "sh", "-c")


def small(command: str) -> subprocess.CompletedProcess[str]:
    """``command`` in a namespace of its own whose /dev/shm holds 64 kB."""
    mounted = f"mount -t tmpfs -o size=64k tmpfs /dev/shm && {command}"
    return subprocess.run(
        [*IN_A_SMALL_ONE, mounted, sys.executable, SCRIPT], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("unshare") is None or small("true").returncode != 0, reason="no mounts of one's own are allowed here"
)
def test_no_room_between_the_processes_is_told_in_one_line():
    done = small('"$0" -W ignore -c "$1"')
    assert done.stdout.startswith("/dev/shm: no room for the batches"), done.stdout + done.stderr
    assert "train.workers: 0" in done.stdout
    assert "--shm-size" in done.stdout


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ... shared memory"),
        RuntimeError(
            "Caught ... unable to allocate shared memory(shm) for file </torch_7>: No space left on device (28)"
        ),
    ],
)
def test_whatever_pytorch_says_of_it_is_one_error(error: Exception, monkeypatch: pytest.MonkeyPatch):
    class Broken:
        def __next__(self) -> None:
            raise error

    monkeypatch.setattr("torch.utils.data.DataLoader.__iter__", lambda self: Broken())
    with pytest.raises(DataError, match="/dev/shm: no room for the batches"):
        next(iter(TimedLoader([])))


def test_another_error_of_a_process_stays_what_it_is(monkeypatch: pytest.MonkeyPatch):
    class Broken:
        def __next__(self) -> None:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr("torch.utils.data.DataLoader.__iter__", lambda self: Broken())
    with pytest.raises(RuntimeError, match="signal: Killed"):
        next(iter(TimedLoader([])))
