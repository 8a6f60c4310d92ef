"""``cea restore`` as people expect it: several photographs, pipes, strength, sheets, progress, warnings."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cea import progress
from cea.cli.main import app
from cea.errors import ImageError
from cea.inference import restore, restore_judged
from cea.io.images import encode_png, read_photo, read_rgb, write_image
from cea.io.photo import Photo
from cea.models.checkpoint import load_weights, save_weights
from cea.models.config import ModelConfig
from cea.models.network import RestorationNetwork, build
from cea.progress import Progress, clock
from cea.restoring import photographs
from cea.restoring.restorer import Restorer

CONFIG = ModelConfig(width=8, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, rank=2, error_gate=True)


def network() -> RestorationNetwork:
    """One that changes its input: an untrained one returns it."""
    model = build(CONFIG, 0)
    torch.nn.init.constant_(model.backbone.head.bias, 0.05)
    return model.eval()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_weights(tmp_path / "w.safetensors", network(), CONFIG, {})
    return tmp_path / "w.safetensors"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write_image(tmp_path / "photo.png", scene())
    return tmp_path / "photo.png"


def scene() -> np.ndarray:
    return np.random.default_rng(0).integers(40, 200, (24, 32, 3), dtype=np.uint8)


def run(*arguments: object, stdin: bytes | None = None):
    return CliRunner().invoke(app, ["restore", *map(str, arguments)], input=stdin)


def test_it_says_which_weights_these_are(tmp_path: Path, photo: Path, weights: Path):
    done = run(photo, "-o", tmp_path / "o.png", "--weights", weights)
    assert done.exit_code == 0, done.output
    assert f"weights: {weights} (sha256 " in done.stdout


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_strength_scales_the_correction(tmp_path: Path, photo: Path, weights: Path, share: float):
    assert run(photo, "-o", tmp_path / "o.png", "--weights", weights, "--strength", share).exit_code == 0
    whole = restore(network(), scene()) * 255
    expected = scene() + share * (whole - scene())
    assert np.abs(read_rgb(tmp_path / "o.png") - expected).max() <= 0.51
    assert np.abs(whole - scene()).mean() > 3


def test_strength_may_be_a_mask(tmp_path: Path, photo: Path, weights: Path):
    mask = np.zeros((24, 32), np.uint8)
    mask[:, 16:] = 255
    write_image(tmp_path / "mask.png", mask)
    assert (
        run(photo, "-o", tmp_path / "o.png", "--weights", weights, "--strength", tmp_path / "mask.png").exit_code == 0
    )
    made, whole = read_rgb(tmp_path / "o.png"), restore(network(), scene()) * 255
    assert np.array_equal(made[:, :16], scene()[:, :16])
    assert np.abs(made[:, 16:] - whole[:, 16:]).max() <= 0.51
    write_image(tmp_path / "turned.png", np.ascontiguousarray(mask.T))
    refused = run(photo, "-o", tmp_path / "p.png", "--weights", weights, "--strength", tmp_path / "turned.png")
    assert refused.exit_code == 2
    assert "a mask of 24x32 for a photograph of 32x24 pixels" in refused.stderr
    write_image(tmp_path / "half.png", np.ascontiguousarray(mask[::2, ::2]))
    refused = run(photo, "-o", tmp_path / "p.png", "--weights", weights, "--strength", tmp_path / "half.png")
    assert refused.exit_code == 2
    assert "a mask of 16x12 for a photograph of 32x24 pixels" in refused.stderr
    assert not (tmp_path / "p.png").exists()


@pytest.mark.parametrize(("given", "says"), [("1.5", "from 0 to 1"), ("nan", "from 0 to 1"), ("none.png", "none.png")])
def test_a_wrong_strength_is_refused_before_the_work(tmp_path: Path, photo: Path, weights: Path, given: str, says: str):
    done = run(photo, "-o", tmp_path / "o.png", "--weights", weights, "--strength", given)
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_sheet_shows_before_and_after(tmp_path: Path, photo: Path, weights: Path):
    assert run(photo, "-o", tmp_path / "o.png", "--weights", weights, "--compare").exit_code == 0
    sheet = read_rgb(tmp_path / "o.compare.png")
    assert sheet.shape == (24, 32 + 8 + 32, 3)
    assert np.array_equal(sheet[:, :32], scene())
    assert np.array_equal(sheet[:, 40:], read_rgb(tmp_path / "o.png"))


def test_several_inputs_and_globs_and_resuming(tmp_path: Path, photo: Path, weights: Path):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "in" / name, scene())
    out = tmp_path / "out"
    done = run(photo, tmp_path / "in" / "[ab].png", "-o", out, "--weights", weights, "--suffix", ".tif")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".tif") == ["a.tif", "b.tif", "photo.tif"]
    assert "2 left, about 0:0" in done.stdout
    again = run(photo, tmp_path / "in" / "*.png", "-o", out, "--weights", weights, "--suffix", ".tif")
    assert "3 of 3 were there already" in again.stderr
    other = run(photo, "-o", out, "--weights", weights, "--suffix", ".tif", "--strength", "0.5")
    assert other.exit_code == 2
    assert "photo.tif is there already, made with strength 1 (now 0.5); " in other.stderr
    nothing = run(tmp_path / "in" / "*.jpg", "-o", out, "--weights", weights)
    assert nothing.exit_code == 2
    assert "*.jpg: matches nothing" in nothing.stderr


def test_pipes(tmp_path: Path, photo: Path, weights: Path):
    through = run("-", "-o", "-", "--weights", weights, stdin=photo.read_bytes())
    assert through.exit_code == 0, through.stderr
    assert run(photo, "-o", tmp_path / "o.png", "--weights", weights).exit_code == 0
    assert through.stdout_bytes == (tmp_path / "o.png").read_bytes()
    assert "weights: " in through.stderr
    jpeg = run(photo, "-o", "-", "--suffix", ".jpg", "--weights", weights)
    assert jpeg.stdout_bytes[:3] == b"\xff\xd8\xff"
    assert run("-", "-o", tmp_path / "p.png", "--weights", weights, stdin=photo.read_bytes()).exit_code == 0
    assert (tmp_path / "p.png").read_bytes() == (tmp_path / "o.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-", "PHOTO", "-o", "OUT"], "one photograph"),
        (["-", "-o", "OUT.bmpx"], "change the suffix"),
        (["-", "-o", "-", "--compare"], "--compare with -"),
        (["-", "-o", "-", "--receipt"], "--receipt with -"),
        (["FOLDER", "-o", "-"], "a folder to -"),
        (["-", "-o", "-"], "stdin: "),
        (["PHOTO", "-o", "OUT.png", "--suffix", ".psd"], "--suffix .psd"),
    ],
)
def test_wrong_pipes_and_suffixes_are_one_line(tmp_path: Path, photo: Path, arguments: list[str], says: str):
    places = {"PHOTO": str(photo), "FOLDER": str(tmp_path), "OUT": str(tmp_path / "o")}
    done = run(*(places.get(word, word) for word in arguments), stdin=b"no picture")
    assert done.exit_code == 2
    assert says in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert done.stdout_bytes == b""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(tmp_path: Path, photo: Path, weights: Path):
    done = run(photo, "-o", tmp_path / "o.png", "--weights", weights, "--device", "gpu")
    assert done.exit_code == 2
    assert "--device gpu; expected a GPU that PyTorch sees; use --device cpu" in done.stderr


def test_steps_are_counted_from_none_to_all():
    steps: list[tuple[int, int]] = []
    image = np.zeros((140, 300, 3), np.uint8)
    restore(network(), image, tile=128, step=lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == list(range(steps[-1][1] + 1))
    assert {total for _, total in steps} == {1 + 2 * 2 * 4}


def test_the_expected_error_is_in_grey_levels():
    model = network()
    assert model.log_error is not None
    torch.nn.init.constant_(model.log_error.bias, float(np.log(7)))
    _, estimates = restore_judged(model, scene())
    assert estimates.error is not None
    assert estimates.error * 255 == pytest.approx(np.full((12, 16), 7), rel=1e-5)


def test_a_log_gets_lines_with_the_time_left_and_short_work_none(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", said := io.StringIO())
    with Progress("a.jpg", seconds=10) as shown:
        for done in range(11):
            shown.step(done, 10)
            now[0] += 6
    lines = said.getvalue().splitlines()
    assert lines[:2] == [
        "a.jpg: 1 of 10 tiles, 0:06 so far, 0:54 to go",  # an estimate as soon as there is one
        "a.jpg: 3 of 10 tiles, 0:18 so far, 0:42 to go",
    ]
    assert len(lines) == 5
    said.truncate(0)
    with Progress("c.jpg", seconds=10) as shown:
        for done in range(1, 5):  # 8 s in all
            now[0] += 2
            shown.step(done, 4)
    assert not said.getvalue().strip("\0")
    said.truncate(0)
    with Progress("b.jpg", seconds=0) as shown:
        shown.step(0, 1)
        shown.step(1, 1)
    assert not said.getvalue().strip("\0")
    assert clock(3725) == "1:02:05"


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", said := Terminal())
    with Progress("a.jpg") as shown:
        for done in range(4):
            shown.step(done, 3)
    assert "a.jpg" in said.getvalue()
    assert "/3" in said.getvalue()


def told(image: np.ndarray, level: float) -> str:
    model = network()
    assert model.log_error is not None
    torch.nn.init.constant_(model.log_error.bias, float(np.log(level)))
    return "; ".join(Restorer(model).restore_photo(Photo(image))[1])


def test_what_weights_are_not_trained_for_is_said():
    assert told(scene(), 20) == ""
    assert "nearly clean" in told(scene(), 0.3)
    assert "much darker (mean 1.0 of 255)" in told(np.full((9, 9, 3), (0, 1, 2), np.uint8), 20)
    assert "monochrome" in told(np.full((9, 9, 3), 99, np.uint8), 20)


def test_alpha_stays_and_hidden_colours_are_left_alone():
    alpha = np.full((24, 32), 255, np.uint8)
    alpha[:5] = 0
    for share in (1.0, 0.5):
        made, _ = Restorer(network()).restore_photo(Photo(scene(), alpha), strength=share)
        assert made.alpha is not None
        assert np.array_equal(made.alpha, alpha)
        assert np.array_equal(made.rgb[:5], scene()[:5])
        assert (made.rgb[5:] != scene()[5:]).any()


def test_grey_in_grey_out_whatever_the_strength():
    grey = np.repeat(scene()[..., :1], 3, axis=2)
    for share in (1.0, 0.3):
        made, _ = Restorer(network()).restore_photo(Photo(grey), strength=share)
        assert made.grey
        assert (made.rgb == made.rgb[..., :1]).all()


def test_a_lack_of_memory_names_the_way_out(monkeypatch):
    def full(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(photographs, "restore_judged", full)
    with pytest.raises(ImageError, match="use --tile 256"):
        Restorer(network()).restore_photo(Photo(scene()))


def test_untrusted_code_is_not_run(tmp_path: Path, photo: Path):
    named = CONFIG.model_copy(update={"adapter": "no_such_module:Thing"})
    save_weights(tmp_path / "w.safetensors", network(), named, {})
    done = run(photo, "-o", tmp_path / "o.png", "--weights", tmp_path / "w.safetensors")
    assert done.exit_code == 2
    assert "--trust-code" in done.stderr
    trusted = run(photo, "-o", tmp_path / "o.png", "--weights", tmp_path / "w.safetensors", "--trust-code")
    assert "no_such_module" in trusted.stderr
    assert "cannot be imported" in trusted.stderr


def test_the_pixels_are_those_of_the_library(tmp_path: Path, photo: Path, weights: Path):
    assert run(photo, "-o", tmp_path / "o.png", "--weights", weights).exit_code == 0
    model, _ = load_weights(weights)
    assert np.array_equal(
        encode_png(read_photo(tmp_path / "o.png").rgb),
        encode_png(np.rint(restore(model, scene()).astype(np.float64) * 255).astype(np.uint8)),
    )
