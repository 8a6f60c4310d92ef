"""Weights on disk: a file alone rebuilds its network, and a wrong file says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cea.errors import DataError
from cea.models import checkpoint
from cea.models.checkpoint import FORMAT, load_weights, read_metadata, save_weights
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


def with_header(written: Path, change) -> None:
    """The file with another header, its length stated rightly."""
    data = written.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    written.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def set_places(*places: list[int]):
    def change(header: dict) -> None:
        names = [name for name in header if name != "__metadata__"]
        for name, place in zip(names, places, strict=False):
            header[name]["data_offsets"] = place

    return change


@pytest.mark.parametrize("length", [0, 1 << 25, 1 << 40, (1 << 64) - 1])
def test_an_absurd_length_of_the_header_is_refused(written: Path, length: int) -> None:
    written.write_bytes(length.to_bytes(8, "little") + written.read_bytes()[8:])
    with pytest.raises(DataError, match="not a complete safetensors file"):
        load_weights(written)


@pytest.mark.parametrize(
    "change",
    [
        set_places([0, 0]),
        set_places([0, 32], [0, 32]),
        set_places([1 << 40, (1 << 40) + 4]),
        lambda header: next(iter(header.values())).update(shape=[1 << 40]),
        lambda header: header.update(model="no tensor"),
    ],
)
def test_tensors_whose_places_lie_are_refused(written: Path, change) -> None:
    with_header(written, change)
    with pytest.raises(DataError, match=r"w\.safetensors"):
        load_weights(written)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(written: Path, value: float) -> None:
    tensors = load_file(written)
    tensors["backbone.head.weight"][0, 0, 0, 0] = value
    save_file(tensors, written, metadata=header_of())
    with pytest.raises(DataError, match=r"backbone\.head\.weight: NaN or infinite"):
        load_weights(written)


def test_other_shapes_and_types_are_refused(written: Path) -> None:
    for changed in (torch.zeros(3), torch.zeros_like(load_file(written)["backbone.head.weight"]).double()):
        save_file(load_file(written) | {"backbone.head.weight": changed}, written, metadata=header_of())
        with pytest.raises(DataError, match=r"backbone\.head\.weight: torch\.float\d+ of shape"):
            load_weights(written)


def test_a_configuration_of_gigabytes_takes_none(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes are compared before anything is allocated."""
    huge = CONFIG.model_copy(update={"width": 512, "encoder_blocks": (64,) * 5, "decoder_blocks": (64,) * 5})
    save_file(load_file(written), written, metadata=header_of(model=huge.model_dump_json()))
    monkeypatch.setattr(checkpoint, "build", lambda config: pytest.fail("built"))
    with pytest.raises(DataError, match="by the configuration"):
        load_weights(written)


@pytest.mark.parametrize("text", ["[1]", "3", "null", "[" * 100_000])
def test_metadata_that_are_no_mapping_are_refused(written: Path, text: str) -> None:
    for key in ("model", "metadata"):
        save_file(load_file(written), written, metadata=header_of(**{key: text}))
        for read in (load_weights, read_metadata):
            with pytest.raises(DataError, match=r"w\.safetensors"):
                read(written)


def test_a_flipped_bit_anywhere_is_refused(written: Path) -> None:
    data = written.read_bytes()
    places = np.random.default_rng(0).integers(8 * len(data), size=150)
    for bit in [*places, 8 * len(data) - 1, 8 * (len(data) - 3)]:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        written.write_bytes(flipped)
        with pytest.raises(DataError, match=r"w\.safetensors"):
            load_weights(written)


def test_files_without_a_digest_are_read(written: Path) -> None:
    save_file(load_file(written), written, metadata=header_of())
    load_weights(written)
