"""`OnTheFly`: a sample depends on seed, epoch, index and pixels, and on nothing else."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cea import OnTheFly
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import render
from cea.errors import ConfigError, DataError, ImageError
from cea.io.images import write_image
from cea.levels import to_uint8
from cea.testing.degradations import picture

RECIPES = {"noise": {"nodes": {"noise": {}}}, "haze": {"nodes": {"haze": {}}}}
WHOLE = to_uint8(picture((96, 120)))
CLEAN = [WHOLE, np.ascontiguousarray(WHOLE[::-1]), np.ascontiguousarray(WHOLE[:, ::-1])]


def samples(dataset: OnTheFly, workers: int = 0, epochs: int = 2) -> list[torch.Tensor]:
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, persistent_workers=workers > 0)
    made = []
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        made += [batch["degraded"] for batch in loader]
    return made


def test_items_are_pairs_that_a_record_makes_again():
    item = OnTheFly(CLEAN, RECIPES, crop=48, seed=4)[2]
    assert set(item) == {"degraded", "clean", "recipe", "record"}
    record = Record.model_validate_json(item["record"])
    made = render(record, CLEAN[2])
    assert item["recipe"] == record.recipe in RECIPES
    for name, image in (("degraded", made.degraded), ("clean", made.clean)):
        assert (item[name].dtype, item[name].shape) == (torch.float32, (3, 48, 48))
        assert np.array_equal(np.rint(item[name].permute(1, 2, 0).numpy() * 255), image)


@pytest.mark.slow
def test_workers_that_live_on_change_nothing():
    """The epoch reaches them although they were started before."""
    alone, with_workers = (samples(OnTheFly(CLEAN, RECIPES, crop=32, seed=1), workers) for workers in (0, 2))
    assert all(torch.equal(one, other) for one, other in zip(alone, with_workers, strict=True))
    assert not torch.equal(alone[0], alone[2])  # another epoch


def test_seed_epoch_and_index_decide():
    first = OnTheFly(CLEAN, RECIPES, crop=32)
    again, other = OnTheFly(CLEAN, RECIPES, crop=32), OnTheFly(CLEAN, RECIPES, crop=32, seed=1)
    assert torch.equal(first[1]["degraded"], again[1]["degraded"])
    assert torch.equal(first[-1]["degraded"], first[2]["degraded"])
    assert not torch.equal(first[1]["degraded"], other[1]["degraded"])
    again.set_epoch(1)
    assert not torch.equal(first[1]["degraded"], again[1]["degraded"])
    assert torch.equal(pickle.loads(pickle.dumps(again))[1]["degraded"], again[1]["degraded"])
    with pytest.raises(IndexError):
        first[3]


def test_all_recipes_take_part_and_some_are_uneven():
    dataset = OnTheFly([WHOLE] * 40, RECIPES, crop=16, nonuniform_share=0.5)
    items = [dataset[index] for index in range(40)]
    assert {item["recipe"] for item in items} == set(RECIPES)
    uneven = sum(not Record.model_validate_json(item["record"]).uniform for item in items)
    assert 8 <= uneven <= 32


def test_a_folder_and_names_for_other_libraries(tmp_path: Path):
    write_image(tmp_path / "a" / "x.png", CLEAN[0])
    write_image(tmp_path / "b.png", CLEAN[1])
    dataset = OnTheFly(tmp_path, "cdd11/low_rain", names=("lq", "gt"))
    assert len(dataset) == 2
    assert dataset[0]["gt"].shape == (3, 96, 120)
    assert dataset[0]["recipe"] == "cdd11_low_rain"
    assert len(OnTheFly(tmp_path, {"nodes": {"noise": {}}})) == 2
    assert len(OnTheFly(tmp_path, ["cdd11/low", "aio3/noise25"])) == 2


def test_what_cannot_work_is_said_at_once(tmp_path: Path):
    with pytest.raises(DataError, match="no photographs"):
        OnTheFly(tmp_path, RECIPES)
    with pytest.raises(DataError, match="no such folder"):
        OnTheFly(tmp_path / "gone", RECIPES)
    with pytest.raises(DataError, match="no images"):
        OnTheFly([], RECIPES)
    with pytest.raises(ConfigError, match="no recipes"):
        OnTheFly(CLEAN, [])
    with pytest.raises(ConfigError, match="cdd11/haze"):
        OnTheFly(CLEAN, "cdd11/hase")
    with pytest.raises(ConfigError, match="crop = 0"):
        OnTheFly(CLEAN, RECIPES, crop=0)
    with pytest.raises(ConfigError, match="share"):
        OnTheFly(CLEAN, RECIPES, nonuniform_share=2)
    with pytest.raises(ConfigError, match="epoch = -1"):
        OnTheFly(CLEAN, RECIPES).set_epoch(-1)
    with pytest.raises(ImageError, match="at least 200x200"):
        OnTheFly(CLEAN, RECIPES, crop=200)[0]
