"""Mistakes that people make at the command line: one line that names the cause, exit status 2, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cea.cli.main import app
from cea.errors import InputError
from cea.io.images import write_image
from cea.models.checkpoint import load_weights, read_metadata, save_weights
from cea.models.config import ModelConfig
from cea.models.network import build

TINY = ModelConfig(width=4, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, rank=1)


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    """A folder with a photograph, a folder of one, an empty one, a text file, weights, and folders in the way."""
    write_image(tmp_path / "a.png", np.full((16, 24, 3), 90, np.uint8))
    write_image(tmp_path / "photos/a.png", np.full((16, 24, 3), 90, np.uint8))
    for folder in ("empty", "taken.png"):
        (tmp_path / folder).mkdir()
    (tmp_path / "text.jpg").write_text("<html>not found</html>")
    (tmp_path / "params.yaml").write_text("stages: [another, project]\n")
    save_weights(tmp_path / "w.safetensors", build(TINY), TINY, {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says", "never"),
    [
        ("restore gone -o out", "gone: no such file", "no images"),
        ("restore gone.png -o out.png", "gone.png: no such file", "no images"),
        ("restore empty -o out", "empty: no images", "no such"),
        ("restore a.png -o a.png", "is the photograph itself", "check the folder"),
        ("restore photos -o photos", "is the folder of the photographs itself", "check the folder"),
        ("restore a.png -o text.jpg/b.png", "text.jpg/b.png: Not a directory", "free some space"),
        ("restore a.png photos -o b.png", "names one file", "free some space"),
        ("restore a.png -o out.psd", "a suffix that is not written", "Traceback"),
        ("restore text.jpg -o out.png", "text.jpg: not an image", "Traceback"),
        ("restore a.png -o out.png --weights text.jpg", "text.jpg: not a complete safetensors file", "Traceback"),
        ("restore a.png -o out.png --weights empty", "empty: a folder with no .safetensors files", "Traceback"),
        ("restore a.png -o out.png --weights w.safetensors --tile 3", "at least 128", "Traceback"),
        ("degrade gone --recipe haze -o out.png", "gone: no such file", "no images"),
        ("degrade a.png --recipe hase -o out.png", "unknown key 'hase'", "Traceback"),
        ("degrade a.png --recipe haze -o out.png --light text.jpg", "text.jpg: not an image", "Traceback"),
        ("degrade a.png --recipe haze -o out.png --params gone.yaml", "gone.yaml: no such file", "Traceback"),
        ("degrade a.png --recipe haze -o out.png --params params.yaml.d", "params.yaml.d: no such file", "Traceback"),
        ("eval --data gone", "gone: no such folder", "holds nothing"),
        ("eval --data photos --protocol nope", "unknown protocol 'nope'", "cea eval."),
        ("gallery -o out --photo text.jpg", "text.jpg: not an image", "Traceback"),
        ("trace x --project empty", "dvc.lock: no such file", "Traceback"),
        ("cost --size huge --count-only", "--size = 'huge'", "params.yaml"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_cause(place: Path, words: str, says: str, never: str):
    before = {path for path in place.rglob("*") if path.is_file()}
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert says in done.stderr
    assert never not in done.stderr
    assert {path for path in place.rglob("*") if path.is_file()} == before


def test_another_projects_params_stop_nothing(place: Path):
    for words in ("degrade a.png --recipe haze -o d.png", "restore a.png -o r.png --weights w.safetensors"):
        done = CliRunner().invoke(app, words.split())
        assert done.exit_code == 0, done.output
    assert (place / "d.png").is_file()
    assert (place / "r.png").is_file()


@pytest.mark.slow
def test_a_real_process_prints_nothing_but_what_it_has_to_say(place: Path):
    (place / "numpy.py").write_text("raise SystemExit('taken from the current folder')\n")
    command = [sys.executable, "-c", "from cea.cli.main import app; app()", "restore", "-", "-o", "-"]
    command += ["--weights", "w.safetensors"]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        command, cwd=place, env=environment, input=(place / "a.png").read_bytes(), capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout[:8] == b"\x89PNG\r\n\x1a\n"
    lines = done.stderr.decode().splitlines()
    assert [line.split(":")[0] for line in lines] == ["weights", "warning"], lines


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1), flip=st.integers(1, 255), cut=st.booleans())
def test_mutated_weights_are_read_or_refused_in_one_line(place: Path, share: float, flip: int, cut: bool):
    whole = (place / "w.safetensors").read_bytes()
    header = int.from_bytes(whole[:8], "little") + 8
    data = bytearray(whole)
    if cut:
        del data[int(share * (len(data) - 1)) :]
    else:
        data[int(share * (header - 1))] ^= flip
    (place / "m.safetensors").write_bytes(data)
    for read in (load_weights, read_metadata):
        message = "m.safetensors"
        try:
            read(place / "m.safetensors")
        except InputError as error:
            message = str(error)
        assert "m.safetensors" in message
        assert "\n" not in message
