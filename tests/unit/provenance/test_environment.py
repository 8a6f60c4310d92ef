"""An environment made anew for a run: what cannot be made says why."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from cea.errors import DataError
from cea.provenance.environment import environment_of, rebuilt


def test_a_python_that_is_not_here_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"python3\.99 is not here; expected Python 3\.99\.1"):
        rebuilt(tmp_path, "3.99.1")


def test_a_commit_without_a_lock_has_nothing_to_build_from(tmp_path: Path):
    with pytest.raises(DataError, match=r"holds no requirements\.lock"):
        rebuilt(tmp_path, platform.python_version())


@pytest.mark.slow
def test_a_lock_that_cannot_be_installed_is_said_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "requirements.lock").write_text("no-such-package==1.0\n")
    with pytest.raises(DataError, match=r"--requirement requirements\.lock failed, as it says above"):
        rebuilt(tmp_path, platform.python_version())
    with pytest.raises(DataError, match="has no DVC"):
        environment_of(tmp_path / ".venv/bin/python")
