"""Two trainers never share a folder: the second is refused while the first lives, however that was started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cea.errors import DataError
from cea.training.lock import exclusive

HOLDER = """
import sys, time
from pathlib import Path
from cea.training.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "data/state")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_training_is_refused_and_the_first_named(holder, tmp_path: Path):
    with (
        pytest.raises(DataError, match=rf"process {holder.pid} is still training there"),
        exclusive(tmp_path / "data/state"),
    ):
        raise AssertionError("it was let in")


def test_a_killed_training_leaves_the_way_free(holder, tmp_path: Path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with exclusive(tmp_path / "data/state"):
        assert (tmp_path / "data/state.lock").read_text() == str(os.getpid())
    with exclusive(tmp_path / "data/state"):
        pass


def test_other_folders_are_free(holder, tmp_path: Path):
    with exclusive(tmp_path / "other/state"):
        pass
