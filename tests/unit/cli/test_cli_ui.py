"""``cea ui`` serves this machine and nobody else."""

from __future__ import annotations

import socket
import subprocess
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from cea.cli.main import app
from cea.lineage import runs, store


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been started."""
    started: list[list[str]] = []
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(store, "open_store", lambda *arguments, **options: (None, "1"))
    monkeypatch.setattr(runs, "experiment_name", lambda: "cea")
    found = SimpleNamespace(info=SimpleNamespace(run_id="abc123"))
    monkeypatch.setattr(runs, "find_run", lambda wanted: (None, found))
    monkeypatch.setattr(
        subprocess, "run", lambda command, **options: started.append(command) or SimpleNamespace(returncode=0)
    )
    return started


def test_the_page_is_served_on_the_loopback_address_only(commands: list[list[str]]):
    assert CliRunner().invoke(app, ["ui", "--no-browser"]).exit_code == 0
    (command,) = commands
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_the_address_opens_the_pages_for_training(commands: list[list[str]]):
    """Without the word in its address MLflow 3.17 opens its pages for language models."""
    listed, one = (CliRunner().invoke(app, ["ui", "--no-browser", *run]).output for run in ([], ["a-run"]))
    assert "/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=cea\n" in listed
    assert "/#/experiments/1/runs/abc123?workflowType=machine_learning\n" in one


def test_a_port_that_somebody_listens_on_is_refused(commands: list[list[str]]):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = CliRunner().invoke(app, ["ui", "--no-browser", "--port", str(port)])
    assert done.exit_code == 2
    assert f"port {port}: something is served there already" in done.output
    assert not commands
