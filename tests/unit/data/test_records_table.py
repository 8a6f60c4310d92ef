"""The records table: one row per sample, a pure function of its inputs, and enough to make the records again."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cea.config import parse
from cea.data import records as module
from cea.data.clean import TABLE, clean_parts, load_clean, read_clean
from cea.data.records import (
    COLUMNS,
    PLANNED,
    SynthesizeConfig,
    Variants,
    draw_rows,
    draw_table,
    is_nonuniform,
    to_record,
)
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import render
from cea.errors import ConfigError, DataError
from cea.io import tables
from cea.io.tables import as_table, write_table
from cea.metrics.psnr import psnr
from cea.rng import SampleKey

RECIPE = RecipeConfig(order="cdd11", nodes={"low": {}, "haze": {}})
CONFIG = SynthesizeConfig(
    train=Variants(photograph=5, leaves=2),
    val=Variants(photograph=2, leaves=0),
    test=Variants(photograph=3, leaves=1),
    tile=48,
)


@pytest.fixture(scope="module")
def clean(clean_folder) -> pl.DataFrame:
    return read_clean(clean_folder)


@pytest.fixture(scope="module")
def table(clean) -> pl.DataFrame:
    return draw_table(clean, "low_haze", RECIPE, CONFIG, 11)


def test_one_row_per_sample_as_configured(table):
    counts = dict(table.group_by("clean_id").len().rows())
    assert counts == {"i0": 5, "i1": 5, "i2": 2, "i3": 3, "i4": 2}  # i5 is a validation leaf
    assert table["sample_id"].n_unique() == len(table) == 17
    assert dict(table.schema) == COLUMNS
    assert table["components"].to_list() == [["low", "haze"]] * 17
    assert set(table["n_components"]) == {2}


def test_a_recipe_that_is_not_trained_on_has_the_same_test_samples_and_no_others(clean, table):
    unseen = draw_table(clean, "low_haze", RECIPE.model_copy(update={"training": False}), CONFIG, 11)
    assert unseen.equals(table.filter(pl.col("split") == "test"))
    assert 0 < len(unseen) < len(table)


def test_a_clean_table_that_is_read_in_parts_gives_the_same_samples(clean_folder, table, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_ROWS", 2)
    rows = draw_rows(lambda: clean_parts(clean_folder, PLANNED), "low_haze", RECIPE, CONFIG, 11)
    assert as_table(rows, COLUMNS).equals(table)
    read_clean(clean_folder).reverse().write_parquet(tmp_path / TABLE)
    with pytest.raises(DataError, match=r"clean\.parquet: not ordered by id; expected .*; run the ingest stage"):
        list(draw_rows(lambda: clean_parts(tmp_path, PLANNED), "low_haze", RECIPE, CONFIG, 11))


def test_the_table_holds_every_field_of_a_record():
    assert set(Record.model_fields) | {"components", "n_components"} == set(COLUMNS)


def test_records_survive_the_table_and_its_file(table, tmp_path):
    write_table(tmp_path / "t.parquet", table)
    for row in pl.read_parquet(tmp_path / "t.parquet").iter_rows(named=True):
        record = to_record(row)
        assert record.sample_id == row["sample_id"]
        assert to_record(json.loads(record.model_dump_json())) == record
    key = SampleKey(11, row["clean_sha256"], "low_haze", row["variant"])
    assert record == module._draw(
        {"id": row["clean_id"], "split": row["split"], "depth_file": None}, RECIPE, CONFIG, key, None
    )


def test_training_samples_are_tiles_inside_their_image_and_others_whole_images(table, clean):
    for row in table.iter_rows(named=True):
        if row["split"] != "train":
            assert row["crop"] is None
            continue
        top, left, height, width = row["crop"]
        assert (height, width) == (48, 48)
        assert 0 <= top <= 96 - 48
        assert 0 <= left <= 80 - 48
    places = {tuple(crop[:2]) for crop in table["crop"].to_list() if crop}
    assert len(places) > 6


def test_a_tile_is_no_larger_than_its_image(clean):
    table = draw_table(clean, "low", RECIPE, CONFIG.model_copy(update={"tile": 256}), 0)
    assert {tuple(crop) for crop in table["crop"].to_list() if crop} == {(0, 0, 96, 80)}


def test_own_depth_is_asked_for_where_there_is_one(table):
    given_depth = {row["clean_id"]: to_record(row).scene.depth_given for row in table.iter_rows(named=True)}
    assert given_depth == {"i0": False, "i1": False, "i2": False, "i3": False, "i4": True}


def test_other_images_and_other_counts_change_no_row(table, clean):
    fewer = draw_table(clean.filter(pl.col("id") != "i1"), "low_haze", RECIPE, CONFIG, 11)
    assert fewer.equals(table.filter(pl.col("clean_id") != "i1"))
    one = CONFIG.model_copy(update={"train": Variants(photograph=1, leaves=1)})
    rows = draw_table(clean, "low_haze", RECIPE, one, 11)
    assert rows.equals(table.filter((pl.col("split") != "train") | (pl.col("variant") == 0)))


def test_another_seed_or_name_draws_other_numbers(table, clean):
    for other in (draw_table(clean, "low_haze", RECIPE, CONFIG, 12), draw_table(clean, "other", RECIPE, CONFIG, 11)):
        assert not set(other["nodes"]) & set(table["nodes"])


@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(1, 40))
def test_the_share_of_uneven_samples_holds_for_every_image(seed, share, count):
    uneven = sum(is_nonuniform(SampleKey(seed, "a", "r", variant), share) for variant in range(count))
    assert abs(uneven - share * count) < 1 + 1e-9


def test_the_share_of_uneven_samples_holds_over_images_with_one_sample_each():
    uneven = sum(is_nonuniform(SampleKey(0, str(image), "r", 0), 0.3) for image in range(3000))
    assert uneven / 3000 == pytest.approx(0.3, abs=0.03)


def test_even_and_uneven_samples_are_told_apart(table):
    assert set(table["uniform"]) == {True, False}
    for row in table.iter_rows(named=True):
        assert row["uniform"] == all(node.field is None for node in to_record(row).nodes)


_PROGRAM = """
import hashlib, sys
from pathlib import Path
from cea.data.clean import load_clean, read_clean
from cea.data.records import *
from cea.io.tables import write_table
from cea.degradations.engine.recipes import RecipeConfig
config = SynthesizeConfig(train=Variants(photograph=5, leaves=2), val=Variants(photograph=2, leaves=0),
    test=Variants(photograph=3, leaves=1), tile=48)
recipe = RecipeConfig(order="cdd11", nodes={"low": {}, "haze": {}})
table = draw_table(read_clean(Path(sys.argv[1])), "low_haze", recipe, config, 11)
write_table(Path(sys.argv[2]), table)
"""


def test_the_file_has_the_same_bytes_in_every_process(table, clean_folder, tmp_path):
    """Whatever the hash seed and the number of threads."""
    write_table(tmp_path / "here.parquet", table)
    expected = hashlib.sha256((tmp_path / "here.parquet").read_bytes()).hexdigest()
    for seed, threads in (("1", "1"), ("2", "4")):
        there = tmp_path / f"{seed}.parquet"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "POLARS_MAX_THREADS": threads}
        subprocess.run([sys.executable, "-c", _PROGRAM, str(clean_folder), str(there)], env=environment, check=True)
        assert hashlib.sha256(there.read_bytes()).hexdigest() == expected


def test_no_samples_at_all_is_an_error(clean):
    none = Variants(photograph=0, leaves=0)
    with pytest.raises(DataError, match="'low': no samples"):
        draw_table(clean, "low", RECIPE, SynthesizeConfig(train=none, val=none, test=none), 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tile": 8}, "synthesize.tile = 8"),
        ({"nonuniform_share": 1.5}, "synthesize.nonuniform_share = 1.5"),
        ({"train": {"photographs": 3}}, "synthesize.train: unknown key 'photographs'.*did you mean 'photograph'"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        parse(SynthesizeConfig, values, "synthesize")


def test_bounds_on_the_input_psnr_need_pixels_and_hold(clean, clean_folder):
    bounded = RecipeConfig(order="cdd11", nodes={"haze": {}}, input_psnr=[12, 19])
    with pytest.raises(ConfigError, match="input_psnr"):
        draw_table(clean, "haze", bounded, CONFIG, 11)

    def load(row):
        return load_clean(clean_folder, row["file"], None, row["sha256"]).rgb

    for row in draw_table(clean, "haze", bounded, CONFIG, 11, load).iter_rows(named=True):
        pixels = load(clean.row(by_predicate=pl.col("id") == row["clean_id"], named=True))
        record = to_record(row)
        if not record.scene.depth_given:  # given depth replaces the procedural one that bounds are judged with
            rendered = render(record, pixels)
            assert 12 <= psnr(rendered.degraded, rendered.clean) <= 19
