"""A program that was started ends with the process that started it, with all that it has started in turn."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cea.io import child

PARENT = """
import signal, sys
for each in (1, 2, 3, 15): signal.signal(each, signal.SIG_DFL)  # under nohup one is ignored
from pathlib import Path
from cea.io import child
with child.tidy_on_signal():
    try:
        child.run(["sh", "-c", sys.argv[2]], cwd=sys.argv[1])
    finally:
        child.run(["sh", "-c", "kill -INT $$; echo tidied > tidied"], cwd=sys.argv[1])
"""
"""Tidies up by a program that a second Ctrl-C would reach, too."""

LISTENS = "sleep 1000 & echo $! > inner; echo $$ > outer; wait"
DEAF = "trap '' TERM; " + LISTENS


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(number: int) -> bool:
    """Whether there is such a process, a zombie not counted."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_everything_and_what_is_to_be_tidied_up_is(tmp_path: Path, number: signal.Signals):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), LISTENS], start_new_session=True)
    try:
        until(lambda: (tmp_path / "outer").is_file() and (tmp_path / "outer").read_text().endswith("\n"))
        parent.send_signal(number)
        assert parent.wait(120) == 128 + number
        assert (tmp_path / "tidied").is_file()
        assert not [name for name in ("inner", "outer") if lives(int((tmp_path / name).read_text()))]
    finally:
        parent.kill()


def test_what_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child, "_PATIENCE_S", 0.2)
    process = subprocess.Popen(["sh", "-c", DEAF], cwd=tmp_path, start_new_session=True)
    until(lambda: (tmp_path / "outer").is_file() and (tmp_path / "outer").read_text().endswith("\n"))
    child._end(process)
    assert process.returncode == -signal.SIGKILL
    inner = int((tmp_path / "inner").read_text())
    until(lambda: not lives(inner))  # nobody here is its parent: the signal was sent, and it ends a moment later


def test_what_is_ignored_stays_ignored():
    """Under ``nohup`` a program outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with child.tidy_on_signal():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_a_signal_it_is_a_plain_program(tmp_path: Path):
    before = signal.getsignal(signal.SIGTERM)
    with child.tidy_on_signal():
        assert child.run(["sh", "-c", "exit 7"], cwd=tmp_path) == 7
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
