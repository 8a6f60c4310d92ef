"""Weights on disk: a file alone rebuilds its network, and a wrong file says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cea.errors import DataError
from cea.models.checkpoint import FORMAT, load_weights, save_weights
from cea.models.config import ModelConfig
from cea.models.network import build

CONFIG = ModelConfig(width=8, rank=3, sites=("middle",), encoder_blocks=(1,), decoder_blocks=(0,))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    network = build(CONFIG, seed=4)
    with torch.no_grad():
        network.backbone.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    save_weights(tmp_path / "w.safetensors", network, CONFIG, {"step": 7, "note": "π"})
    return tmp_path / "w.safetensors"


def header_of(**changes: str) -> dict[str, str]:
    return {"format": FORMAT, "model": CONFIG.model_dump_json(), "metadata": "{}"} | changes


def test_round_trip(written: Path) -> None:
    network, metadata = load_weights(written)
    assert metadata == {"step": 7, "note": "π"}
    assert network.config == CONFIG
    assert not network.training
    again = written.with_name("again.safetensors")  # safetensors alone orders its metadata at random
    save_weights(again, network, network.config, metadata)
    assert again.read_bytes() == written.read_bytes()
    image = torch.rand(1, 3, 9, 11)
    assert torch.equal(load_weights(again)[0](image), network(image))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "format 'other'"),
        ({"model": json.dumps({"width": 8, "rnak": 3})}, "unknown key 'rnak'"),
        ({"model": json.dumps({"width": 9})}, "does not fit"),
        ({"model": "{"}, "does not fit"),
    ],
)
def test_foreign_header(changes: dict[str, str], message: str, written: Path) -> None:
    save_file(load_file(written), written, metadata=header_of(**changes))
    with pytest.raises(DataError, match=message):
        load_weights(written)


def test_safetensors_of_somebody_else(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="format None"):
        load_weights(tmp_path / "x.safetensors")


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text", "folder"])
def test_damaged_file(damage: str, written: Path) -> None:
    data = written.read_bytes()
    written.unlink()
    if damage == "folder":
        written.mkdir()
    elif damage != "missing":
        written.write_bytes({"empty": b"", "truncated": data[: len(data) // 2], "text": b"not weights"}[damage])
    with pytest.raises(DataError, match=r"w\.safetensors"):
        load_weights(written)


def test_failed_write_leaves_the_old_file(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written.read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="No space left"):
        save_weights(written, build(CONFIG), CONFIG, {})
    assert written.read_bytes() == before
    assert [path.name for path in written.parent.iterdir()] == [written.name]
