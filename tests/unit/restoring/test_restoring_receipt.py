"""``cea restore --receipt``: maps with a stated scale and a few numbers beside the picture."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cea.cli.main import app
from cea.inference import Estimates, restore_judged
from cea.io.images import decode_png, read_rgb, write_image
from cea.models.checkpoint import save_weights
from cea.models.config import ModelConfig
from cea.models.network import build
from cea.restoring.receipt import grey_maps, numbers
from tests.told import Told

SMALL = ModelConfig(width=8, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, rank=2)
HEADS = {"severity": ("haze", "low"), "error_gate": True}


def saved(folder: Path, **keys: object) -> Path:
    """Weights that change their input, expect a severity of .8 and .25, and an error of 7 grey levels."""
    config = SMALL.model_copy(update=keys)
    model = build(config, 0)
    torch.nn.init.constant_(model.backbone.head.bias, 0.05)
    if model.severity is not None:
        model.severity.bias.data.copy_(torch.tensor([0.8, 0.25]).logit())
    if model.log_error is not None:
        torch.nn.init.constant_(model.log_error.bias, float(np.log(7)))
    save_weights(folder / "w.safetensors", model, config, {})
    return folder / "w.safetensors"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(40, 200, (23, 31, 3), dtype=np.uint8)
    write_image(tmp_path / "photo.png", pixels)
    return tmp_path / "photo.png"


def run(*arguments: object):
    return CliRunner().invoke(app, ["restore", *map(str, arguments)])


def test_what_lies_beside_the_picture(tmp_path: Path, photo: Path):
    weights = saved(tmp_path, **HEADS)
    done = run(photo, "-o", tmp_path / "o.jpg", "--weights", weights, "--receipt", "--strength", "0.5")
    assert done.exit_code == 0, done.output
    receipt = json.loads((tmp_path / "o.receipt.json").read_text())
    assert receipt == {
        "format": "cea-receipt-1",
        "photograph": "photo.png",
        "restored": "o.jpg",
        "height": 23,
        "width": 31,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "strength": 0.5,
        "tile": None,
        "severity": {
            "full_scale": 1.0,
            "components": {
                "haze": {"mean": 0.8, "map": "o.severity.haze.png"},
                "low": {"mean": 0.25, "map": "o.severity.low.png"},
            },
        },
        "expected_error": {
            "grey_levels": 7.0,
            "db": round(20 * np.log10(255 / 7), 2),
            "full_scale_grey_levels": 127.5,
            "map": "o.error.png",
        },
    }
    for name, value in (("severity.haze", 204), ("severity.low", 64), ("error", 14)):
        pixels = decode_png((tmp_path / f"o.{name}.png").read_bytes())
        assert pixels.shape == (23, 31)
        assert pixels.dtype == np.uint8
        assert np.abs(pixels.astype(int) - value).max() <= 1, name


def test_the_picture_is_the_same_with_a_receipt_and_without(tmp_path: Path, photo: Path):
    weights = saved(tmp_path, **HEADS)
    assert run(photo, "-o", tmp_path / "a.png", "--weights", weights, "--receipt").exit_code == 0
    assert run(photo, "-o", tmp_path / "b.png", "--weights", weights).exit_code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert [path.name for path in tmp_path.glob("b.*")] == ["b.png"]


def test_a_mask_is_named_with_its_mean(tmp_path: Path, photo: Path):
    mask = np.zeros((23, 31), np.uint8)
    mask[:, :16] = 255
    write_image(tmp_path / "mask.png", mask)
    weights = saved(tmp_path, **HEADS)
    done = run(photo, "-o", tmp_path / "o.png", "--weights", weights, "--receipt", "--strength", tmp_path / "mask.png")
    assert done.exit_code == 0, done.output
    receipt = json.loads((tmp_path / "o.receipt.json").read_text())
    assert receipt["strength"] == {"mask": "mask.png", "mean": round(16 / 31, 4)}
    assert receipt["expected_error"]["grey_levels"] == 7  # of the photograph, whatever is corrected


def test_a_gate_alone_gives_the_error_alone_and_says_so(tmp_path: Path, photo: Path):
    done = run(photo, "-o", tmp_path / "o.png", "--weights", saved(tmp_path, error_gate=True), "--receipt")
    assert done.exit_code == 0, done.output
    assert "these weights have no severity head" in done.stderr
    assert done.stderr.count("note: ") == 1
    receipt = json.loads((tmp_path / "o.receipt.json").read_text())
    assert "severity" not in receipt
    assert receipt["expected_error"]["grey_levels"] == 7
    assert sorted(path.name for path in tmp_path.glob("o.*")) == ["o.error.png", "o.png", "o.receipt.json"]


def test_without_any_head_it_is_refused_before_the_work(tmp_path: Path, photo: Path):
    done = run(photo, "-o", tmp_path / "o.png", "--weights", saved(tmp_path), "--receipt")
    assert done.exit_code == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        "error: --receipt: these weights have neither a severity head nor an error gate; expected a network that was "
        "trained with model.severity or model.error_gate; leave --receipt out, or pass other --weights"
    ]
    assert not list(tmp_path.glob("o.*"))


def test_a_folder_gets_a_receipt_for_each_and_what_is_missing_is_made(tmp_path: Path, photo: Path):
    weights = saved(tmp_path, **HEADS)
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "in" / name, read_rgb(photo))
    out = tmp_path / "out"
    assert run(tmp_path / "in", "-o", out, "--weights", weights).exit_code == 0
    done = run(tmp_path / "in", "-o", out, "--weights", weights, "--receipt")
    assert done.exit_code == 0, done.output
    assert len(list(out.glob("*.receipt.json"))) == 2
    (out / "a.receipt.json").unlink()
    again = run(tmp_path / "in", "-o", out, "--weights", weights, "--receipt")
    assert "1 of 2 was there already" in again.stderr
    assert (out / "a.receipt.json").is_file()


def test_a_receipt_replaces_no_photograph(tmp_path: Path, photo: Path):
    weights = saved(tmp_path, **HEADS)
    photo.rename(tmp_path / "o.error.png")
    before = (tmp_path / "o.error.png").read_bytes()
    done = run(tmp_path / "o.error.png", "-o", tmp_path / "o.png", "--weights", weights, "--receipt")
    assert done.exit_code == 2
    assert "o.error.png is a photograph that is to be read" in done.stderr
    assert (tmp_path / "o.error.png").read_bytes() == before
    assert not (tmp_path / "o.png").exists()


def test_maps_and_numbers_of_known_estimates():
    """One pixel of the map beside each other: halves of a picture, an error beyond the scale, odd sizes."""
    image = np.zeros((7, 10, 3), np.float32)
    image[:, 6:, 0] = 1.0
    image[..., 2] = 0.1
    _, estimates = restore_judged(Told(), image)
    maps = grey_maps(estimates, (7, 10))
    assert maps["severity.haze"].shape == (7, 10)
    assert maps["severity.haze"][0, :5].max() == 0
    assert maps["severity.haze"][0, 7:].min() == 255
    assert maps["error"].tolist() == [[round(0.01 * 255 * 2)] * 10] * 7
    facts = numbers(estimates, {name: f"{name}.png" for name in maps})
    assert facts["severity"]["components"]["haze"]["mean"] == pytest.approx(0.4, abs=1e-4)
    assert facts["expected_error"]["grey_levels"] == pytest.approx(2.55, abs=1e-3)
    assert facts["expected_error"]["db"] == pytest.approx(40, abs=0.01)
    beyond = Estimates({}, np.full((2, 2), 0.9, np.float32), 2)
    assert grey_maps(beyond, (4, 4))["error"].min() == 255
    nothing = numbers(Estimates({}, np.zeros((2, 2), np.float32), 2), {"error": "e.png"})
    assert nothing["expected_error"]["db"] == 100


def test_the_default_weights_have_a_gate(tmp_path: Path, photo: Path):
    done = run(photo, "-o", tmp_path / "o.png", "--receipt")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "o.receipt.json").read_text())["expected_error"]["grey_levels"] > 0
