"""Folders of photographs as people have them, through each command: pixels right, the rest named, status 2 for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cea.cli.main import app
from cea.data.clean import load_clean, read_clean
from cea.data.ingest import IngestConfig, ingest
from cea.io.images import read_photo
from cea.models.checkpoint import save_weights
from cea.models.config import ModelConfig
from cea.models.network import build
from tests.field.pairs import clean_picture, degraded_picture, save
from tests.field.pictures import DEEP, FLAT, GREY, deep_png, exif, pillow, png, tiff, with_chunk

ODD = {"a b": "a space", "100%": "a percent sign", "[1]": "a glob", "line\nbreak": "a line break", "-o": "an option"}
GOOD: dict[str, bytes] = {
    **{f"{name}.png": pillow(FLAT, "PNG") for name in ODD},
    "deep.png": deep_png(DEEP),
    "deep.tif": tiff(DEEP, photometric="rgb", compression="zlib"),
    "negative.tif": tiff(65535 - GREY, photometric="miniswhite"),
    "photo.JPG": pillow(FLAT, "JPEG", quality=98),
    "photo.webp": pillow(FLAT, "WEBP", lossless=True),
    "turned.png": with_chunk(deep_png(DEEP), b"eXIf", exif(6)[6:]),
    "wrong suffix.jpg": pillow(FLAT, "PNG"),
    "woven.png": png(DEEP, 16, 2, interlaced=True),
    "same.jpg": pillow(FLAT, "JPEG", quality=98),
    "same.png": pillow(FLAT, "PNG"),
    "below/same.png": pillow(FLAT, "PNG"),
}
BROKEN = {
    "cut.png": pillow(FLAT, "PNG")[:-60],
    "page.jpg": b"<html>404</html>",
    "phone.heic": b"\0\0\0\x18ftypheic" + b"\0" * 40,
    "none.jpg": b"",
}
SKIPPED = {"._a.jpg": b"\0\5\x16\7", ".hidden/a.png": pillow(FLAT, "PNG"), "Thumbs.db": b"x"}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for name, data in {**GOOD, **BROKEN, **SKIPPED}.items():
        path = tmp_path / "photographs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "photographs"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    config = ModelConfig(width=8, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, rank=2)
    save_weights(path, build(config, 0), config, {})
    return path


def run(*arguments: object):
    return CliRunner().invoke(app, [*map(str, arguments)])


def check_messages(done) -> None:
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    for name in BROKEN:
        assert name in done.stderr
    for name in SKIPPED:
        assert Path(name).name not in done.stderr
    assert sum(line.startswith("error:") for line in done.stderr.splitlines()) == 1


def outputs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.png") if path.is_file())


def test_restore(photographs: Path, weights: Path, tmp_path: Path):
    done = run("restore", photographs, "-o", tmp_path / "out", "--weights", weights)
    check_messages(done)
    written = outputs(tmp_path / "out")
    assert len(written) == len(GOOD)
    by_name = {path.relative_to(tmp_path / "out").as_posix(): read_photo(path) for path in written}
    assert by_name["turned.png"].rgb.shape == (32, 24, 3)
    assert {name for name, photo in by_name.items() if photo.rgb.dtype == np.uint16} >= {"turned.png", "woven.png"}
    assert by_name["negative.png"].grey
    same = run("restore", photographs / "[1].png", photographs / "-o.png", "-o", tmp_path / "two", "--weights", weights)
    assert same.exit_code == 0, same.output
    assert len(outputs(tmp_path / "two")) == 2


def test_degrade(photographs: Path, tmp_path: Path):
    done = run("degrade", photographs, "--recipe", "cdd11/low", "-o", tmp_path / "out")
    check_messages(done)
    assert len(outputs(tmp_path / "out")) == len(GOOD)


def test_ingest(photographs: Path, tmp_path: Path):
    config = IngestConfig(
        source="folder", sources={"folder": {"path": str(photographs)}}, leaves={"count": 0}, min_side=16
    )
    for number in range(12):
        save(photographs / f"more/{number}.png", clean_picture(number, 48, 64))
    report = ingest(tmp_path / "clean", config)
    named = dict(report.refused)
    assert set(BROKEN) - {"phone.heic"} <= set(named)
    assert not set(named) & set(SKIPPED)
    for row in read_clean(tmp_path / "clean").iter_rows(named=True):
        load_clean(tmp_path / "clean", row["file"], None, row["sha256"])
    facts = json.loads((tmp_path / "clean/ingest.json").read_text())
    assert "phone.heic" in json.dumps(facts) or "phone.heic" in named


def test_eval(tmp_path: Path, weights: Path):
    for number, (suffix, options) in enumerate([("png", {}), ("jpg", {"quality": 98}), ("webp", {"lossless": True})]):
        clean = clean_picture(number)
        save(tmp_path / f"set/gt/{number}.png", clean)
        save(tmp_path / f"set/lq/{number}.{suffix}", degraded_picture(clean), **options)
    done = run("eval", "--data", tmp_path / "set", "-o", tmp_path / "out", "--weights", weights, "--no-check")
    assert done.exit_code == 0, done.output
    assert "3 pairs" in done.output
    scores = json.loads((tmp_path / "out/summary.json").read_text())
    assert 15 < scores["input_psnr"] < 30
