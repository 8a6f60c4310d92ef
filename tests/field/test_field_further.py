"""Further kinds for each promise on photographs, tried at the command line: writing, folders, options, maps, pairs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cea.cli.main import app
from cea.io.images import read_photo, read_rgb, write_image
from cea.models.checkpoint import save_weights
from cea.models.config import ModelConfig
from cea.models.network import build
from tests.field.pairs import save, write_pairs
from tests.field.pictures import DEEP, FLAT, HEIGHT, WIDTH, deep_png, pillow


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a photograph, a folder of two, weights."""
    write_image(tmp_path / "a.png", FLAT)
    write_image(tmp_path / "in/a.png", FLAT)
    write_image(tmp_path / "in/b.png", FLAT)
    config = ModelConfig(width=4, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, rank=1)
    save_weights(tmp_path / "w.safetensors", build(config), config, {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def restore(*words: object, stdin: bytes | None = None):
    return CliRunner().invoke(app, ["restore", *map(str, words), "--weights", "w.safetensors"], input=stdin)


def degrade(*words: object):
    return CliRunner().invoke(app, ["degrade", "a.png", "--recipe", "cdd11/haze", "-o", "o.png", *map(str, words)])


def refused(done, says: str) -> None:
    assert done.exit_code == 2, done.output
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert says in line
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", ["A.PNG", "d.TIFF", "x.Jpeg", "y.WebP"])
def test_a_suffix_counts_in_any_case(place: Path, name: str):
    assert restore("a.png", "-o", name).exit_code == 0
    assert read_photo(place / name).rgb.shape == FLAT.shape


def test_a_link_to_another_picture_is_replaced_and_the_other_left_alone(place: Path):
    (place / "other.png").write_bytes(deep_png(DEEP))
    (place / "link.png").symlink_to("other.png")
    assert restore("a.png", "-o", "link.png").exit_code == 0
    assert (place / "other.png").read_bytes() == deep_png(DEEP)


@pytest.mark.parametrize("out", ["/dev/null", ".png", "o.gif"])
def test_places_that_are_no_pictures_are_refused_before_the_work(place: Path, out: str):
    refused(restore("a.png", "-o", out), "a suffix that is not written here")


def test_pictures_of_one_name_in_two_folders_have_two_results(place: Path):
    save(place / "other/a.webp", FLAT[::-1], lossless=True)
    assert restore("in", "other", "-o", "out").exit_code == 0
    assert sorted(path.name for path in (place / "out").glob("*.png")) == ["a_png.png", "a_webp.png", "b.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_what_is_no_file_is_named_and_stops_nothing(place: Path):
    os.mkfifo(place / "in/pipe.jpg")
    (place / "in/loop").symlink_to("../in")
    (place / "in/lost.png").symlink_to("nowhere")
    write_image(place / "in/folder.png/c.png", FLAT)
    done = restore("in", "-o", "out")
    refused(done, "in: 3 of 6 images were left out: ")
    for name in ("pipe.jpg: not a regular file", "loop: a link to a folder that it lies in", "lost.png: a link that"):
        assert name in done.stderr
    assert {path.name for path in (place / "out").rglob("*.png") if path.is_file()} == {"a.png", "b.png", "c.png"}


def test_one_is_written_as_one(place: Path):
    (place / "in/notes.txt").write_text("x")
    (place / "in/c.png").write_bytes(b"")
    done = restore("in", "-o", "out")
    refused(done, "1 of 3 images was left out: c.png")
    assert "1 file that is no picture: notes.txt" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--strength", "nan"), "--strength nan; expected a number from 0 to 1"),
        (("--strength", "-0.1"), "--strength -0.1; expected a number from 0 to 1"),
        (("--strength", "gone.png"), "gone.png: No such file"),
        (("--suffix", "png"), "--suffix png; expected one of .png"),
        (("--tile", "1"), "at least 128 pixels"),
        (("--quality", "0"), "--quality has a wrong value"),
        (("--weights", os.devnull), f"{os.devnull}: not a complete safetensors file"),
    ],
)
def test_options_of_wrong_values(place: Path, words: tuple[str, ...], says: str):
    done = CliRunner().invoke(app, ["restore", "a.png", "-o", "o.png", "--weights", "w.safetensors", *words])
    refused(done, says)
    assert not (place / "o.png").exists()


@pytest.mark.parametrize("data", [b"", b"<html>", pillow(FLAT, "BMP")[:400]])
def test_what_comes_through_a_pipe_is_named_stdin(place: Path, data: bytes):
    refused(restore("-", "-o", "o.png", stdin=data), "error: stdin: ")
    assert not (place / "o.png").exists()


INVERSE = ("--depth-convention", "inverse")
MAPS: dict[str, tuple[object, str]] = {
    "booleans": (np.ones((HEIGHT, WIDTH), bool), ""),
    "four axes": (np.ones((1, HEIGHT, WIDTH, 1), np.float32), ""),
    "one row": (np.ones(WIDTH, np.float32), "d.npy: "),
    "complex": (np.ones((HEIGHT, WIDTH), complex), "d.npy: "),
    "infinite": (np.full((HEIGHT, WIDTH), np.inf, np.float32), "d.npy: "),
    "two pictures": (np.ones((2, HEIGHT, WIDTH), np.float32), "d.npy: "),
    "objects": (np.array([{}], object), "d.npy: "),
    "turned": (np.ones((WIDTH, HEIGHT), np.float32), f"a depth map of {HEIGHT}x{WIDTH}"),
}


@pytest.mark.parametrize("kind", MAPS)
def test_depth_maps_of_other_shapes_and_kinds(place: Path, kind: str):
    values, says = MAPS[kind]
    np.save(place / "d.npy", values, allow_pickle=True)
    done = degrade("--depth", "d.npy", *INVERSE)
    if says:
        refused(done, says)
        assert not (place / "o.png").exists()
    else:
        assert done.exit_code in (0, 2), done.output
        assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("convention", "says"), [("near", "expected one of 'inverse', 'metric'"), ("", "--depth-convention is empty")]
)
def test_the_convention_is_one_of_two(place: Path, convention: str, says: str):
    np.save(place / "d.npy", np.ones((HEIGHT, WIDTH), np.float32))
    refused(degrade("--depth", "d.npy", "--depth-convention", convention), says)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("/etc/hostname,target/1.png\n", "/etc/hostname"),
        ("input/1.png,../elsewhere.png\n", "elsewhere.png: no such file"),
        ("input/1.png,target/1.png\ninput/1.png,target/1.png\n", "two test images are called"),
    ],
)
def test_tables_that_name_odd_pairs(place: Path, table: str, says: str):
    write_pairs(place / "set", ("input/1.png", "target/1.png"))
    (place / "set/pairs.csv").write_text(table)
    words = ["eval", "--data", "set", "--outputs", "set", "--pairs", "pairs.csv", "-o", "out"]
    refused(CliRunner().invoke(app, words), says)


@pytest.mark.parametrize("words", [("--params", "in"), ("--params", "bytes.yaml"), ("--params", "list.yaml")])
def test_parameters_that_are_none(place: Path, words: tuple[str, ...]):
    (place / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (place / "list.yaml").write_text("- a\n- b\n")
    refused(degrade(*words), words[1])
    assert not (place / "o.png").exists()


def test_results_are_what_the_network_gives_whatever_the_folder_is(place: Path):
    assert restore("in", "-o", "out").exit_code == 0
    assert restore("in/a.png", "-o", "o.png").exit_code == 0
    assert np.array_equal(read_rgb(place / "out/a.png"), read_rgb(place / "o.png"))
