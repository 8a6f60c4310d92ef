"""``shard.store: records``: the same batches as from pixels, from tiles that lie there once."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from cea.data import rendered, tiling
from cea.data.clean import load_clean, read_clean
from cea.data.dataset import check_split, list_split
from cea.data.loaders import PatchDataset, PatchSequence, ShardPairs
from cea.data.packing import ShardConfig, select, write_shards
from cea.data.reading import read_sample
from cea.data.records import SynthesizeConfig, Variants, draw_table, to_record
from cea.data.shards import read_index, read_part
from cea.data.tiles import read_tile_index, tiles_folder
from cea.data.tiling import write_tiles
from cea.data.verification import verify
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.render import render
from cea.errors import DataError
from cea.evaluation.cases import shard_cases
from cea.io import sequences
from cea.io.images import pixel_sha256

RECIPES = {
    "haze": RecipeConfig(order="cdd11", nodes={"haze": {}}),
    "low_rain": RecipeConfig(order="cdd11", nodes={"low": {}, "rain": {}}),
    "noise": RecipeConfig(order="physical", nodes={"noise": {"sigma_255": [5, 30]}}),
}
SYNTHESIZE = SynthesizeConfig(train=Variants(photograph=3, leaves=2), tile=40, same_tiles=True)
SEQUENCE = PatchSequence((8, 8, 8), 6, seed=4, transpose=True)
WANTED = ("haze", "rain", "noise")


@pytest.fixture(scope="module")
def stores(clean_folder, tmp_path_factory) -> Path:
    """``pixels`` and ``records``, each laid out as ``data/shards`` is."""
    root, clean = tmp_path_factory.mktemp("stores"), read_clean(clean_folder)
    tables = {name: draw_table(clean, name, recipe, SYNTHESIZE, 3) for name, recipe in RECIPES.items()}
    for split in ("train", "test"):
        for store in ("pixels", "records"):
            config = ShardConfig(samples_per_tar=3, store=store)
            for name, table in tables.items():
                write_shards(root / store / split / name, select(table, clean, split), clean_folder, config)
        every = select(pl.concat(tables.values()), clean, split)
        write_tiles(root / "records/tiles" / split, [every], clean_folder, 3)
    return root


@pytest.fixture
def copy(stores, tmp_path) -> Path:
    """Records that a test may damage."""
    shutil.copytree(stores / "records", tmp_path / "copy")
    return tmp_path / "copy"


def folders(stores: Path, store: str, split: str = "train") -> list[Path]:
    return [stores / store / split / name for name in RECIPES]


@pytest.mark.parametrize("cache_bytes", [0, 1 << 24])
@pytest.mark.parametrize("severity", [(), WANTED])
def test_batches_are_the_same_bit_for_bit(stores, severity, cache_bytes):
    pixels, records = (
        PatchDataset(ShardPairs(folders(stores, store), cache_bytes), 24, severity) for store in ("pixels", "records")
    )
    for step in range(6):
        for order in SEQUENCE.orders(step):
            one, other = pixels[order], records[order]
            assert len(one) == len(other) == (3 if severity else 2)
            assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


def test_samples_and_labels_are_the_same_in_every_split(stores):
    for split in ("train", "test"):
        for one, other in zip(folders(stores, "pixels", split), folders(stores, "records", split), strict=True):
            for first, second in zip(read_index(one).to_dicts(), read_index(other).to_dicts(), strict=True):
                stored, made = read_sample(one, first), read_sample(other, second)
                for part in ("clean", "degraded", "severity"):
                    assert np.array_equal(getattr(stored, part), getattr(made, part)), part
                assert stored.record == made.record


def test_evaluation_reads_the_same_cases(stores):
    pixels, records = (shard_cases(folders(stores, store, "test"), seen=True) for store in ("pixels", "records"))
    for one, other in zip(pixels, records, strict=True):
        assert (one.sample_id, one.components, one.uniform) == (other.sample_id, other.components, other.uniform)
        assert np.array_equal(one.read().degraded, other.read().degraded)
        assert np.array_equal(one.read().severity, other.read().severity)


def test_the_lists_of_a_split_do_not_tell_the_stores_apart(stores):
    """So that another store trains nothing again, and a training goes on from one to the other."""
    recipes = dict.fromkeys(RECIPES, True)
    one, other = (list_split(stores / store / "train", recipes, labels=True) for store in ("pixels", "records"))
    assert one == other
    check_split(stores / "records/train", one)


def test_a_tile_lies_there_once_for_all_recipes(stores, clean_folder):
    index = read_tile_index(stores / "records/tiles/train")
    assert len(index) == index["tile"].n_unique() == 8  # two photographs three times, one dead leaves twice
    records = [read_index(folder) for folder in folders(stores, "records")]
    assert all(set(each["tile"]) == set(index["tile"]) for each in records)
    whole = read_tile_index(stores / "records/tiles/test")
    assert whole["tile"].to_list() == ["i3-whole"]
    assert whole.select("height", "width").row(0) == (96, 80)


def test_storage_is_divided_by_more_than_the_number_of_recipes(stores):
    def size(store: str) -> int:
        return sum(
            member.size
            for path in (stores / store).rglob("*.tar")
            for member in tarfile.open(path)
            if not member.name.endswith(".record.json")
        )

    assert size("pixels") > len(RECIPES) * size("records")


def test_members_are_plain_files_of_a_plain_tar(stores):
    with tarfile.open(stores / "records/train/haze/000000.tar") as tar:
        names = tar.getnames()
    assert [name.partition(".")[2] for name in names] == ["record.json"] * 3
    with tarfile.open(stores / "records/tiles/train/000002.tar") as tar:
        names = tar.getnames()
    assert {name.partition(".")[2] for name in names} == {"clean.png", "depth.png"}


def test_depth_of_a_tile_is_that_of_its_image(stores, clean_folder):
    """Dead leaves have a depth map of their own; haze depends on every bit of it."""
    folder = stores / "records/train/haze"
    clean = {row["id"]: row for row in read_clean(clean_folder).to_dicts()}
    rows = [row for row in read_index(folder).to_dicts() if row["depth_size"]]
    assert len(rows) == 2
    for row in rows:
        record = to_record(json.loads(read_part(folder, row, "record")))
        image = clean[record.clean_id]
        loaded = load_clean(clean_folder, image["file"], image["depth_file"], image["sha256"])
        again = render(record, loaded.rgb, inverse_depth=loaded.inverse_depth)
        assert pixel_sha256(again.degraded) == row["degraded_sha256"]
        assert np.array_equal(read_sample(folder, row).degraded, again.degraded)


def test_intact_records_verify_and_the_bytes_repeat(stores, clean_folder, tmp_path, monkeypatch):
    """Whatever the order of the recipes, the rows at a time and what the disk sorts."""
    monkeypatch.setattr(sequences, "_RUN", 4)
    for folder in folders(stores, "records"):
        verify(folder)
    clean = read_clean(clean_folder)
    tables = [draw_table(clean, name, recipe, SYNTHESIZE, 3) for name, recipe in reversed(RECIPES.items())]
    parts = select(pl.concat(tables), clean, "train").iter_slices(2)
    count = write_tiles(tmp_path / "tiles", parts, clean_folder, 3)
    assert count == len(read_tile_index(tmp_path / "tiles"))
    for path in sorted((stores / "records/tiles/train").iterdir()):
        assert (tmp_path / "tiles" / path.name).read_bytes() == path.read_bytes()


def test_tiles_are_ordered_by_image_and_place():
    crops = [[96, 8, 32, 32], None, [8, 96, 32, 32], [8, 100, 32, 32], [1000, 0, 32, 32], [8, 96, 32, 33]]
    rows = [("b", crop, "b.png", None, "bb") for crop in crops] + [
        ("a-b", crop, "a.png", "d.png", "aa") for crop in crops
    ]
    table = pl.DataFrame(rows * 2, schema=tiling._COLUMNS, orient="row").sample(fraction=1, shuffle=True, seed=5)
    ordered = table.unique().sort("clean_id", "crop", nulls_last=False)
    assert list(tiling._once(table.iter_slices(5))) == ordered.to_dicts()


def test_the_cache_holds_what_was_rendered(stores, monkeypatch):
    made = []
    render_tile = rendered.render_tile
    monkeypatch.setattr(rendered, "render_tile", lambda *of: made.append(of) or render_tile(*of))
    pairs = ShardPairs(folders(stores, "records"), cache_bytes=1 << 24)
    for _ in range(3):
        pairs.pair(0, 1)
        pairs.severity(0, 1)
    assert len(made) == 1


def test_an_engine_that_makes_other_pixels_is_noticed(stores, monkeypatch):
    folder = stores / "records/train/noise"
    row = read_index(folder).row(0, named=True)
    monkeypatch.setattr(
        rendered,
        "to_record",
        lambda said: to_record({**said, "nodes": [{**node, "stream": 1} for node in said["nodes"]]}),
    )
    with pytest.raises(DataError, match=r"renders another degraded image; .* make them again"):
        read_sample(folder, row)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_a_flipped_bit_in_a_tile_or_a_record_is_named(copy):
    folder = copy / "train/low_rain"
    row = read_index(folder).row(4, named=True)
    flip(folder / row["tar"], row["record_offset"] + row["record_size"] // 2)
    with pytest.raises(DataError, match=r"the record of sample .* is damaged"):
        read_sample(folder, row)
    other = read_index(folder).row(0, named=True)
    flip(tiles_folder(folder) / other["tile_tar"], other["clean_offset"] + other["clean_size"] // 2)
    with pytest.raises(DataError, match=r"tiles/train/00000\d\.tar: the clean of sample .* is damaged"):
        read_sample(folder, other)


def test_tiles_of_other_records_are_refused(copy, stores):
    shutil.rmtree(copy / "tiles/train")
    with pytest.raises(DataError, match=r"tiles/train/index\.parquet: no such file"):
        read_index(copy / "train/haze")
    shutil.copytree(stores / "records/tiles/test", copy / "tiles/train")
    with pytest.raises(DataError, match=r"lacks tile 'i.-.*run dvc repro"):
        read_index(copy / "train/haze")


def test_the_two_kinds_of_folders_are_not_taken_for_each_other(stores):
    with pytest.raises(DataError, match=r"tiles/train/index\.parquet: columns sample_id"):
        read_index(stores / "records/tiles/train")
    shutil.copytree(stores / "pixels/train/haze", stores / "mixed/tiles/train")
    with pytest.raises(DataError, match=r"tiles/train/index\.parquet: columns"):
        read_tile_index(stores / "mixed/tiles/train")


def test_recipes_share_tiles_where_that_is_asked_for(clean_folder):
    clean = read_clean(clean_folder)
    for same, count in ((True, 1), (False, 3)):
        config = SYNTHESIZE.model_copy(update={"same_tiles": same})
        tables = [draw_table(clean, name, recipe, config, 3) for name, recipe in RECIPES.items()]
        crops = {tuple(map(tuple, table.filter(split="train")["crop"])) for table in tables}
        assert len(crops) == count
