"""Whatever happens inside a command or a stage ends as one line on stderr; ``--debug`` shows the rest."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from cea.cli.app import _Commands
from cea.cli.main import app
from cea.errors import DataError, ImageError, foreign, one_line, status_of
from cea.models.checkpoint import load_weights, save_weights
from cea.models.config import ModelConfig
from cea.models.network import build
from cea.provenance.served import ServedRestorer
from pipeline import stage

FAULTS = [
    (DataError("a: gone", expected="b", remedy="c"), 2, "a: gone; expected b; c"),
    (IsADirectoryError(errno.EISDIR, "x", "out.png"), 2, "out.png: Is a directory; expected a file, not a folder"),
    (OSError(errno.ENOSPC, "x", "out.png"), 2, "free some space"),
    (MemoryError(), 2, "smaller tiles"),
    (ZeroDivisionError("division\nby zero"), 1, "ZeroDivisionError at "),
    (KeyError("x"), 1, "--debug"),
]


def failing(error: Exception) -> typer.Typer:
    program = typer.Typer(cls=_Commands, pretty_exceptions_enable=False)

    @program.callback()
    def root(debug: bool = typer.Option(False, "--debug")) -> None:
        pass

    @program.command()
    def fail() -> None:
        warnings.warn("a library's own", stacklevel=1)
        raise error

    return program


@pytest.mark.parametrize(("error", "status", "words"), FAULTS)
def test_a_command_ends_with_one_line(error: Exception, status: int, words: str):
    done = CliRunner().invoke(failing(error), ["fail"])
    assert done.exit_code == status
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert status_of(error) == status


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("arguments", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(arguments: list[str]):
    done = CliRunner().invoke(failing(KeyError("x")), arguments)
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: KeyError")


@pytest.mark.parametrize("command", ["cost", "degrade", "eval", "gallery", "restore", "trace"])
def test_every_command_takes_debug(command: str):
    assert CliRunner().invoke(app, [command, "--debug", "--help"]).exit_code == 0


@pytest.mark.parametrize(("error", "status", "words"), FAULTS)
def test_a_stage_follows_the_same_rule(monkeypatch, capsys, error: Exception, status: int, words: str):
    def main(_arguments: argparse.Namespace) -> None:
        raise error

    for debug in ("0", "1"):
        monkeypatch.setenv("CEA_DEBUG", debug)
        monkeypatch.setattr(sys, "argv", ["stage"])
        with pytest.raises(SystemExit) as ended:
            stage.run(main)
        said = capsys.readouterr().err
        assert ended.value.code == status
        assert said.splitlines()[-1].startswith("error: ")
        assert words in said
        assert ("Traceback" in said) == (debug == "1")


def test_whatever_a_reader_raises_names_the_file():
    class OddError(Exception):
        pass

    for raised in (
        OddError("bad\n  bytes"),
        OddError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"),
        OSError("x"),
    ):
        with (
            pytest.raises(ImageError, match=r"^a\.raw: .+; expected a picture; replace") as told,
            foreign("a.raw", expected="a picture", kind=ImageError),
        ):
            raise raised
        assert "\n" not in str(told.value)
    with (
        pytest.raises(ImageError, match="Permission denied; expected a place that may be used"),
        foreign("a.raw", expected="a picture", kind=ImageError),
    ):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a.raw")


def test_a_long_message_is_cut():
    assert len(one_line(ValueError("x" * 5000))) < 600


def test_the_option_of_a_command_is_named_as_it_is_typed(tmp_path: Path):
    done = CliRunner().invoke(app, ["eval", "--data", str(tmp_path), "--protocol", "psnr"])
    assert done.exit_code == 2
    assert "unknown protocol 'psnr'; expected one of cea, " in done.stderr
    assert "cea eval." not in done.stderr
    done = CliRunner().invoke(app, ["cost", "--size", "huge", "--count-only"])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: --size = 'huge'")
    assert "params.yaml" not in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("restore a.png -o o --tile abc", "--tile has a wrong value; expected a valid integer; see cea restore --help"),
        ("restore a.png -o o --quality 200", "expected a number less than or equal to 100; see cea restore --help"),
        ("restore a.png -o o --device tpu", "--device 'tpu'; expected one of 'auto', 'cpu', 'gpu'"),
        ("restore a.png -o o --til 3", "no such option: --til"),
        ("restore a.png", "missing option '--out' / '-o'; expected "),
        ("degrade a.png --recipe haze -o o --seed x", "--seed has a wrong value; expected a valid integer"),
        ("eval --data x --workers 0", "--workers has a wrong value; expected a number greater than or equal to 1"),
        ("trace", "missing argument 'TARGET'"),
        ("restor a.png", "no such command 'restor'"),
        ("--loud restore a.png", "no such option: --loud"),
    ],
)
def test_wrong_options_are_one_line_too(words: str, says: str):
    done = CliRunner().invoke(app, words.split(), prog_name="cea")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_cea_alone_shows_its_help():
    done = CliRunner().invoke(app, [])
    assert "restore" in done.output
    assert "error: " not in done.output


def test_weights_run_code_only_where_that_is_trusted(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    mark = tmp_path / "it-ran"
    (tmp_path / "mine_adapter.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nfrom cea.models.adapters.film import Film as Mine\n"
    )
    config = ModelConfig(width=8, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, adapter="film")
    named = config.model_copy(update={"adapter": "mine_adapter:Mine"})
    save_weights(tmp_path / "w.safetensors", build(config, 0), named, {})
    with pytest.raises(DataError, match=r"run code of their own, mine_adapter:Mine.*--trust-code"):
        load_weights(tmp_path / "w.safetensors")
    assert not mark.exists()
    model, _ = load_weights(tmp_path / "w.safetensors", trust_code=True)
    assert mark.exists()
    assert model.config.adapter == "mine_adapter:Mine"
    image = np.zeros((1, 16, 16, 3), np.uint8)
    assert ServedRestorer(tmp_path / "w.safetensors").predict(image).shape == image.shape
