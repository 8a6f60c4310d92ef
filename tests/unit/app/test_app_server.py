"""``cea app`` on the command line: its address, its limits, what is missing."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cea.app.server import Place
from cea.cli.main import app
from cea.errors import ConfigError

pytest.importorskip("nicegui", reason="the extra 'app' is not installed")


def run(*arguments: str):
    return CliRunner().invoke(app, ["app", "--no-browser", *arguments])


def test_a_port_that_is_taken_is_one_line_before_any_work(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cea.restoring.restorer.Restorer.load", lambda *_, **__: pytest.fail("weights were read"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run("--port", str(port))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"error: port {port} of 127.0.0.1 is taken; expected a free port; "
        f"pass --port {port % 65535 + 1}, or end what uses it\n"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "192.0.2.1"], "--host 192.0.2.1: "),
        (["--host", "no such host.invalid"], "expected a name or an address of this machine"),
        (["--port", "0"], "--port has a wrong value"),
        (["--weights", "gone.safetensors", "--port", "FREE"], "gone.safetensors"),
        (["--megapixels", "0"], "--megapixels has a wrong value"),
    ],
)
def test_wrong_options_are_one_line(arguments: list[str], says: str):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    done = run(*(port if word == "FREE" else word for word in arguments))
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cea.extras.find_spec", lambda name: None)
    done = run()
    assert done.exit_code == 2
    assert done.stderr == (
        "error: cea app needs nicegui, which is not installed; expected the extra 'app'; "
        "run in cea's clone: pip install '.[app]'\n"
    )


@pytest.mark.parametrize(
    ("host", "alone", "url"),
    [
        ("127.0.0.1", True, "http://127.0.0.1:8080"),
        ("localhost", True, "http://localhost:8080"),
        ("::1", True, "http://[::1]:8080"),
        ("0.0.0.0", False, "http://127.0.0.1:8080"),
        ("192.168.1.5", False, "http://192.168.1.5:8080"),
        ("studio", False, "http://studio:8080"),
    ],
)
def test_loopback_is_told_from_the_network(host: str, alone: bool, url: str):
    assert (Place(host).is_loopback, Place(host).url) == (alone, url)


def test_the_network_is_opened_with_a_warning_only(monkeypatch: pytest.MonkeyPatch):
    served: list[Place] = []
    monkeypatch.setattr("cea.app.server.serve", lambda house, bound, place, ready: served.append(place))
    quiet, loud = run("--port", _free()), run("--port", _free(), "--host", "0.0.0.0")
    assert quiet.stderr == ""
    assert loud.stderr.startswith("warning: 0.0.0.0: whoever reaches this machine can use the page")
    assert [place.host for place in served] == ["127.0.0.1", "0.0.0.0"]


def _free() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_recipes_of_the_folder_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    from cea.cli.page import _recipes

    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("recipes: {mine: {nodes: {haze: {beta: 1}}}}\n")
    names, find = _recipes()
    assert names[0] == "mine"
    assert "cdd11/low_haze_rain" in names
    assert find("mine")[0] == "mine"
    (tmp_path / "params.yaml").write_text("recipes: [\n")
    assert "mine" not in _recipes()[0]
    assert "note: the params.yaml here is not read" in capsys.readouterr().err


def test_the_page_is_imported_by_its_command_alone():
    import subprocess

    code = "import sys, cea.cli.main; print([name for name in sys.modules if 'nicegui' in name or 'cea.app' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_privileged_port_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ConfigError, match="--port 80: not allowed; expected a port from 1024 on"):
        Place(port=80).bind()
