"""``cea ui`` serves this machine and nobody else."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from cea.cli.main import app
from cea.lineage import runs, store


def test_the_page_is_served_on_the_loopback_address_only(monkeypatch: pytest.MonkeyPatch):
    commands: list[list[str]] = []
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(store, "open_store", lambda *arguments, **options: (None, "1"))
    monkeypatch.setattr(runs, "experiment_name", lambda: "cea")
    monkeypatch.setattr(
        subprocess, "run", lambda command, **options: commands.append(command) or SimpleNamespace(returncode=0)
    )
    assert CliRunner().invoke(app, ["ui", "--no-browser"]).exit_code == 0
    (command,) = commands
    assert command[command.index("--host") + 1] == "127.0.0.1"
