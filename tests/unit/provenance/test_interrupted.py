"""A run that is being made again is ended: its temporary worktree goes, and what ran in it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MAKES_AGAIN = """
import signal, sys
for each in (1, 2, 3, 15): signal.signal(each, signal.SIG_DFL)  # under nohup one is ignored
from pathlib import Path
from cea.io import child
from cea.lineage.record import source_now
from cea.provenance.worktree import checked_out
with child.tidy_on_signal(), checked_out(source_now(Path())) as project:
    assert (project / "file").read_text() == "x"
    child.run(["sh", "-c", "echo $$ > begun.new; mv begun.new begun; exec sleep 1000"], cwd=sys.argv[1])
"""


def in_git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_no_worktree_and_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
):
    repository, temporary, begun = (tmp_path / name for name in ("repository", "temporary", "begun"))
    repository.mkdir()
    temporary.mkdir()
    (repository / "file").write_text("x")
    in_git(repository, "init", "-q")
    in_git(repository, "add", "file")
    in_git(repository, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "one")
    monkeypatch.setenv("TMPDIR", str(temporary))
    made = subprocess.Popen([sys.executable, "-c", MAKES_AGAIN, str(tmp_path)], cwd=repository)
    try:
        deadline = time.monotonic() + 120
        while not begun.exists():
            assert made.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert len(in_git(repository, "worktree", "list").splitlines()) == 2
        made.send_signal(number)
        assert made.wait(120) == 128 + number
    finally:
        made.kill()
    assert len(in_git(repository, "worktree", "list").splitlines()) == 1
    assert not list(temporary.iterdir())
    assert not Path("/proc", begun.read_text().strip()).exists()
