"""``cea restore``: photographs in, photographs of the same size and depth out, errors on one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cea.cli.main import app
from cea.inference import restore
from cea.io.images import encode_png, read_photo, read_rgb, write_image
from cea.models.checkpoint import load_weights, save_weights
from cea.models.config import ModelConfig
from cea.models.network import build


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    config = ModelConfig(width=8, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, rank=2)
    save_weights(tmp_path / "best.safetensors", build(config, 0), config, {})
    return tmp_path / "best.safetensors"


def run(*arguments: object):
    return CliRunner().invoke(app, ["restore", *map(str, arguments)])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_one_photograph_keeps_its_size_and_depth(tmp_path: Path, weights: Path, dtype):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (13, 21, 3), dtype=dtype)
    write_image(tmp_path / "photo.png", image)
    done = run(tmp_path / "photo.png", "-o", tmp_path / "restored.png", "--weights", weights)
    assert done.exit_code == 0, done.output
    restored = read_rgb(tmp_path / "restored.png")
    assert restored.shape == image.shape
    assert restored.dtype == dtype
    model, _ = load_weights(weights)
    expected = np.rint(restore(model, image).astype(np.float64) * np.iinfo(dtype).max)
    assert np.abs(restored - expected).max() <= 1


def test_a_folder_keeps_its_inner_structure(tmp_path: Path, weights: Path):
    for name in ("a.png", "b/c.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(encode_png(np.full((9, 9, 3), 99, np.uint8)))
    done = run(tmp_path / "photos", "-o", tmp_path / "out", "--weights", weights)
    assert done.exit_code == 0, done.output
    assert {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png")} == {
        "a.png",
        "b/c.png",
    }


@pytest.mark.parametrize(
    ("photo", "model", "word"),
    [("photo.png", "absent.safetensors", "absent.safetensors"), ("absent.png", None, "absent.png")],
)
def test_what_is_missing_is_named_on_one_line(tmp_path: Path, weights: Path, photo: str, model: str | None, word: str):
    write_image(tmp_path / "photo.png", np.zeros((9, 9, 3), np.uint8))
    done = run(tmp_path / photo, "-o", tmp_path / "out.png", "--weights", tmp_path / model if model else weights)
    assert done.exit_code == 2
    assert word in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_tiles_as_wished(tmp_path: Path, weights: Path):
    image = np.random.default_rng(0).integers(0, 256, (140, 300, 3), dtype=np.uint8)
    write_image(tmp_path / "photo.png", image)
    done = run(tmp_path / "photo.png", "-o", tmp_path / "restored.png", "--weights", weights, "--tile", 128)
    assert done.exit_code == 0, done.output
    expected = restore(load_weights(weights)[0], image, tile=128) * 255
    assert np.abs(read_rgb(tmp_path / "restored.png") - expected).max() <= 0.51
    refused = run(tmp_path / "photo.png", "-o", tmp_path / "other.png", "--weights", weights, "--tile", 20)
    assert refused.exit_code == 2
    assert "at least 128" in refused.output


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_photograph_stays_grey(tmp_path: Path, weights: Path, dtype):
    grey = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (13, 21), dtype=dtype)
    write_image(tmp_path / "one.png", grey)
    write_image(tmp_path / "three.png", np.repeat(grey[..., None], 3, axis=2))
    for name in ("one", "three"):
        assert run(tmp_path / f"{name}.png", "-o", tmp_path / f"out-{name}.png", "--weights", weights).exit_code == 0
        photo = read_photo(tmp_path / f"out-{name}.png")
        assert photo.grey
        assert photo.rgb.dtype == dtype


def test_a_broken_file_does_not_stop_the_others(tmp_path: Path, weights: Path):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "c.png"):
        write_image(tmp_path / "photos" / name, np.full((9, 9, 3), 99, np.uint8))
    (tmp_path / "photos/b.png").write_bytes(b"not an image")
    done = run(tmp_path / "photos", "-o", tmp_path / "out", "--weights", weights)
    assert done.exit_code == 2
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a.png", "c.png"]
    assert "1 of 3 images was left out: b.png" in done.stderr
