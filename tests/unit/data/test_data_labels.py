"""Severity labels: those of the pixels beside which they lie, whatever is cut, flipped and cached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cea.data import loaders, shards
from cea.data.labels import FULL, UNKNOWN, check_recorded, label_maps
from cea.data.loaders import PatchDataset, PatchSequence, PatchSpec, ShardPairs, StepSampler
from cea.errors import ConfigError, DataError
from tests.toy_shards import write_toy_shards

WANTED = ("snow", "low", "haze")
SEQUENCE = PatchSequence((3, 3), batch=6, seed=5, transpose=True, grey_share=0.3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Severities that can be read off the clean pixels: haze is their red, low their green, jpeg their blue."""
    folder = tmp_path_factory.mktemp("labelled")
    write_toy_shards(
        folder / "veiled",
        samples=3,
        size=24,
        components=("haze", "jpeg", "low"),
        bands=lambda clean, _: clean[..., (0, 2, 1)].transpose(2, 0, 1),
    )
    write_toy_shards(folder / "real", samples=3, size=24, components=(), bands=lambda *_: None)
    return [folder / "veiled", folder / "real"]


@pytest.mark.parametrize("patch", [8, 24, 31])
def test_labels_are_those_of_the_pixels(folders: list[Path], patch: int) -> None:
    """After every crop and flip, and where a small tile is repeated at its edge; a component that is absent is 0."""
    dataset = PatchDataset(ShardPairs(folders), patch, WANTED)
    orders = [order for step in range(12) for order in SEQUENCE.orders(step)]
    assert {order.flips for order in orders if order.group == 0} == {
        (up, across, swapped) for up in (True, False) for across in (True, False) for swapped in (True, False)
    }
    for order in orders:
        _, clean, labels = dataset[order]
        assert labels.shape == (3, patch, patch)
        assert labels.dtype == torch.int16
        if order.group:
            assert (labels == UNKNOWN).all()
        elif not order.greyness:
            assert torch.equal(labels[2], clean[0].short())
            assert torch.equal(labels[1], clean[1].short())
            assert not labels[0].any()


def test_pictures_are_the_same_with_labels_and_without(folders: list[Path]) -> None:
    plain, labelled = (PatchDataset(ShardPairs(folders), 9, names) for names in ((), WANTED))
    for order in SEQUENCE.orders(4):
        pair, three = plain[order], labelled[order]
        assert len(pair) == 2
        assert all(torch.equal(one, other) for one, other in zip(pair, three[:2], strict=True))


def test_colours_that_go_change_no_label(folders: list[Path]) -> None:
    dataset = PatchDataset(ShardPairs(folders), 24, WANTED)
    place = (0, 1, 0.0, 0.0, (True, False, True))
    assert torch.equal(dataset[PatchSpec(*place, greyness=1.0)][2], dataset[PatchSpec(*place)][2])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_depends_on_its_step_alone(folders: list[Path], workers: int) -> None:
    """Begun at step 3, in this process or another, with or without a cache: the same labels."""
    expected = [[PatchDataset(ShardPairs(folders), 8, WANTED)[o] for o in SEQUENCE.orders(step)] for step in (3, 4)]
    dataset = PatchDataset(ShardPairs(folders, cache_bytes=1 << 20), 8, WANTED)
    loader = DataLoader(dataset, batch_sampler=StepSampler(SEQUENCE, range(3, 5)), num_workers=workers)
    for batch, samples in zip(loader, expected, strict=True):
        for tensors, number in zip(batch, range(3), strict=True):
            assert torch.equal(tensors, torch.stack([sample[number] for sample in samples]))


def test_no_severity_map_is_read_unasked(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    part = shards.read_part
    monkeypatch.setattr(
        shards, "read_part", lambda folder, row, what, *place: read.append(what) or part(folder, row, what, *place)
    )
    dataset = PatchDataset(ShardPairs(folders), 8)
    for order in SEQUENCE.orders(0):
        dataset[order]
    assert set(read) == {"clean", "degraded"}


def test_bands_are_kept_within_the_budget(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    read = loaders.read_severity
    monkeypatch.setattr(
        loaders, "read_severity", lambda folder, row, place: reads.append(row["sample_id"]) or read(folder, row, place)
    )
    pairs = ShardPairs(folders, cache_bytes=3 * 24 * 24)
    for _ in range(2):
        for row in range(2):
            bands = pairs.severity(0, row)
            assert bands is not None
            assert bands.shape == (3, 24, 24)
    assert len(reads) == 3  # the second once more: there was room for one


def test_maps_by_hand() -> None:
    bands = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    maps = label_maps(bands, ("rain", "low"), ("low", "snow"), (2, 2))
    assert maps[..., 0].tolist() == [[4, 5], [6, 7]]
    assert not maps[..., 1].any()
    assert (label_maps(None, (), ("low",), (2, 3)) == UNKNOWN).all()
    assert label_maps(np.full((1, 1, 1), 255, np.uint8), ("low",), ("low",), (1, 1)).item() == FULL


def test_damaged_maps_are_named(tmp_path: Path) -> None:
    folder = write_toy_shards(tmp_path / "a", samples=1, size=8, components=("low", "haze"))  # one band for two
    with pytest.raises(DataError, match="the severity of sample 'toy-a-0000' is damaged"):
        ShardPairs([folder]).severity(0, 0)


def test_a_component_that_nobody_recorded_is_named() -> None:
    check_recorded((), ())
    check_recorded(("haze",), ["low", "haze"])
    with pytest.raises(ConfigError, match=r"component 'fog'; expected among haze, low; ") as error:
        check_recorded(("haze", "fog"), ["low", "haze", "low"])
    assert "\n" not in str(error.value)
