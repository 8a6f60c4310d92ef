"""What all commands of ``cea`` share: help, examples, version, quiet, JSON, status, missing libraries."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from cea import __version__
from cea.cli.app import _Commands
from cea.cli.main import app
from cea.io.images import write_image
from cea.models.checkpoint import save_weights
from cea.models.config import ModelConfig
from cea.models.network import build

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
CONFIG = ModelConfig(width=8, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, rank=2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_weights(tmp_path / "w.safetensors", build(CONFIG, 0), CONFIG, {})
    for name in "ab":
        write_image(tmp_path / "in" / f"{name}.png", np.full((16, 16, 3), 90, np.uint8) + np.arange(3, dtype=np.uint8))
    return tmp_path


def run(*arguments: str, columns: int = 80):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": str(columns)}, terminal_width=columns)


@pytest.mark.parametrize("columns", [60, 80])
def test_every_help_fits_the_terminal(columns: int):
    pages = [run("--help", columns=columns).output, *(run(name, "-h", columns=columns).output for name in COMMANDS)]
    assert len(pages[0].splitlines()) > 20
    for page in pages:
        assert max(map(len, page.splitlines())) <= columns
    assert "..." not in pages[0].partition("Commands:")[2]  # no sentence is cut off


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_with_options_that_exist(name: str):
    page, listed = run(name, "--help").output, run("--help").output
    lines = [line.strip() for line in page.partition("Examples:")[2].splitlines() if line.strip()]
    assert lines
    assert lines[0] in listed
    for line in lines:
        assert line.startswith(f"cea {name}")
        for option in re.findall(r"--[a-z-]+", line):
            assert option in page or option.replace("--no-", "--") in page, option


def test_version():
    assert run("--version").output == f"cea {__version__}\n"


def test_what_most_come_for_stands_first():
    listed = run("--help").output.partition("Commands:")[2]
    assert listed.index("restore") < listed.index("degrade") < listed.index("cost")


@pytest.mark.parametrize("where", [("-q", "restore"), ("restore", "-q"), ("restore", "--quiet")])
def test_quiet_leaves_results_and_errors(folder: Path, where: tuple[str, str]):
    done = run(*where, "in", "-o", "out", "--weights", "w.safetensors")
    assert (done.exit_code, done.stdout) == (0, "")
    assert sorted(path.name for path in (folder / "out").glob("*.png")) == ["a.png", "b.png"]
    failed = run(*where, "gone.png", "-o", "out.png")
    assert failed.exit_code == 2
    assert failed.stderr.startswith("error: ")


def test_restore_tells_programs_what_was_written(folder: Path):
    (folder / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = run("restore", "in", "-o", "out", "--weights", "w.safetensors", "--json")
    assert done.exit_code == 2
    told = json.loads(done.stdout)
    assert told["weights"]["name"] == "w.safetensors"
    assert [Path(one["target"]).name for one in told["written"]] == ["a.png", "b.png"]
    assert told["written"][0]["width"] == 16
    assert "broken.png" in done.stderr


def test_cost_and_doctor_tell_programs(folder: Path):
    figures = json.loads(run("cost", "--size", "tiny", "--count-only", "--json").stdout)
    assert {figure["quantity"] for figure in figures} == {"parameters", "GMACs@224"}
    findings = json.loads(run("doctor", "--json").stdout)
    assert {finding["state"] for finding in findings} <= {"ok", "do", "fixed"}


def test_a_missing_library_names_its_extra():
    program = typer.Typer(cls=_Commands, pretty_exceptions_enable=False)

    @program.callback()
    def root() -> None:
        pass

    @program.command()
    def fail() -> None:
        raise ModuleNotFoundError("No module named 'polars.io'", name="polars.io")

    done = CliRunner().invoke(program, ["fail"])
    assert done.exit_code == 2
    assert done.stderr == (
        "error: cea fail needs polars, which is not installed; expected the extra 'pipeline'; "
        "run in cea's clone: pip install '.[pipeline]'\n"
    )


def test_ctrl_c_is_130():
    program = typer.Typer(cls=_Commands, pretty_exceptions_enable=False)

    @program.callback()
    def root() -> None:
        pass

    @program.command()
    def fail() -> None:
        raise KeyboardInterrupt

    assert CliRunner().invoke(program, ["fail"]).exit_code == 130


def test_help_needs_little_time():
    """User and system time beyond Python's own; the libraries of a command are imported when it runs."""
    import resource
    import subprocess

    def seconds(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    seconds("-m", "cea.cli", "--help")  # bytecode is written
    beyond = min(seconds("-m", "cea.cli", "--help") - seconds("-c", "pass") for _ in range(3))
    assert beyond < 0.4


def test_the_page_names_every_command_with_json(root: Path):
    page = (root / "docs/cli.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert ("--json" in run(name, "--help").output) <= (f"`cea {name}`" in page), name


@pytest.mark.parametrize(
    "words",
    [("restore", "a.png", "-o", ""), ("restore", "", "-o", "b.png"), ("gallery", "--out="), ("eval", "--data", "")],
)
def test_an_empty_word_is_refused_and_not_taken_for_this_folder(folder: Path, words: tuple[str, ...]):
    done = run(*words)
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert " is empty; expected a value; " in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["in", "w.safetensors"]


@pytest.mark.parametrize("command", [("restore", "in/a.png", "-o", "b.png"), ("eval", "--data", "in")])
def test_small_tiles_are_refused_by_the_option(folder: Path, command: tuple[str, ...]):
    done = run(*command, "--tile", "1")
    assert done.exit_code == 2
    assert done.stderr == (
        "error: --tile 1; expected at least 128 pixels, or 0 for the whole image; correct the option\n"
    )


def test_a_photograph_named_twice_is_restored_once(folder: Path):
    whole = str(folder / "in/a.png")
    done = run(
        "restore", "in/a.png", "in", whole, "in/../in/b.png", "-o", "out", "--weights", "w.safetensors", "--json"
    )
    assert done.exit_code == 0, done.output
    assert [one["source"] for one in json.loads(done.stdout)["written"]] == ["in/a.png", "in/b.png"]


def test_verbose_tells_what_was_done_to_each_photograph(folder: Path):
    command = ("restore", "in/a.png", "-o", "b.png", "--weights", "w.safetensors")
    assert "parameters" not in run(*command).output
    told = run(*command, "-v").stderr
    assert " parameters, PyTorch on " in told
    assert "in/a.png: 8 bits, whole, " in told


def test_the_card_of_the_weights_that_come_with_the_package_is_named(folder: Path):
    told = run("restore", "in/a.png", "-o", "b.png").stdout
    card = told.partition("limits and harm: ")[2].splitlines()[0]
    assert "PolyU" in Path(card).read_text()


def test_doctor_names_only_what_must_be_done_where_it_is_quiet(folder: Path):
    loud, quiet = run("doctor"), run("doctor", "-q")
    wanted = [line for line in loud.stdout.splitlines() if not line.startswith("ok ")]
    assert len(wanted) < len(loud.stdout.splitlines())
    assert [line.split()[:2] for line in quiet.stdout.splitlines()] == [line.split()[:2] for line in wanted]
    assert quiet.exit_code == loud.exit_code
