"""``cea ui`` serves this machine and nobody else."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from cea.cli.main import app
from cea.io import child
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
    monkeypatch.setattr(child, "run", lambda command, **options: started.append(command) or 0)
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


SERVED = """
import signal, sys
for each in (1, 2, 3, 15): signal.signal(each, signal.SIG_DFL)  # under nohup one is ignored
from cea.lineage import runs, store
store.open_store, runs.experiment_name = (lambda *a, **k: (None, "1")), (lambda: "cea")
sys.executable = sys.argv[1]
from cea.cli.main import app
app(["ui", "--no-browser", "--port", sys.argv[2]])
"""
"""The command, with another program in place of MLflow's server."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    server, begun, ended = (tmp_path / name for name in ("server", "begun", "ended"))
    server.write_text(f"#!/bin/sh\ntrap 'echo > {ended}; exit' TERM\necho > {begun}\nwhile :; do sleep 0.1; done\n")
    server.chmod(0o755)
    held = socket.socket()  # nobody else gets the port, and nobody listens there
    held.bind(("127.0.0.1", 0))
    port = held.getsockname()[1]
    command = subprocess.Popen([sys.executable, "-c", SERVED, str(server), str(port)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not begun.exists():
            assert command.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        command.send_signal(number)
        assert command.wait(120) == 128 + number
        assert ended.exists()
    finally:
        command.kill()
        held.close()
