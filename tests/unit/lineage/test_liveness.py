"""A run of a process that is gone is dead at once where the process can be looked up, elsewhere after its silence."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from cea.lineage.liveness import SILENCE_S, is_dead, process_mark

MARK = [sys.executable, "-c", "from cea.lineage.liveness import process_mark; print(process_mark())"]


def ended(*before: str) -> str:
    """The mark of a process that has ended."""
    done = subprocess.run([*before, *MARK], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"{' '.join(before)} is not permitted here: {done.stderr.strip()[-200:]}")
    return done.stdout.strip()


def test_a_process_of_this_machine_is_looked_up():
    now = str(time.time())
    assert not is_dead(process_mark(), None, 0)
    assert is_dead(ended(), now, 0)


def test_a_process_of_another_container_is_judged_by_its_signs_of_life():
    """Its number there is 1, which on this side is another, living process."""
    mark = ended("unshare", "--pid", "--fork", "--mount-proc")
    assert mark.split(":")[1] == "1"
    now = time.time()
    assert not is_dead(mark, str(now - 60), 0)
    assert is_dead(mark, str(now - SILENCE_S - 1), 0)
    assert is_dead(mark, None, 0), "it gave no sign since it began"
