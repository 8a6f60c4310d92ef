"""The list of a split changes with what its stage uses: pixels for training, pixels and labels for judging."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cea.data.dataset import check_split, list_split, read_split, write_split
from cea.data.shards import read_index, write_index
from cea.errors import DataError
from tests.toy_shards import write_toy_shards


def digests(parent: Path) -> tuple[str, str, str | None]:
    """Of pixels as training sees them, as judging does, and of labels."""
    trained, judged = (list_split(parent, {"haze": True}, labels=labels).recipes["haze"] for labels in (False, True))
    assert trained.labels is None
    return trained.sha256, judged.sha256, judged.labels


def overwrite(folder: Path, part: str, change: int) -> None:
    """Another value at the end of one member of the second sample."""
    row = read_index(folder).row(1, named=True)
    data = bytearray((folder / row["tar"]).read_bytes())
    data[row[f"{part}_offset"] + row[f"{part}_size"] - 3] ^= change
    (folder / row["tar"]).write_bytes(data)


@pytest.mark.parametrize("part", ["severity", "record"])
def test_a_changed_label_of_the_same_size_is_judged_anew_and_not_trained(tmp_path: Path, part: str):
    folder = write_toy_shards(tmp_path / "haze")
    before = digests(tmp_path)
    overwrite(folder, part, 1)
    after = digests(tmp_path)
    assert after[:2] == before[:2]
    assert after[2] != before[2]


@pytest.mark.parametrize(
    ("column", "changed", "labels"),
    [
        ("severity_size", pl.col("severity_size") - 1, True),
        ("clean_offset", pl.col("clean_offset") + 512, False),
        ("uniform", ~pl.col("uniform"), True),
        ("components", pl.lit(["rain"]), True),
    ],
)
def test_labels_and_places_of_members_are_nothing_to_training(
    tmp_path: Path, column: str, changed: pl.Expr, labels: bool
):
    """A severity map whose PNG has another length moves all that follows it in the tar."""
    folder = write_toy_shards(tmp_path / "haze")
    index, before = read_index(folder), digests(tmp_path)
    index.with_columns(changed.alias(column)).write_parquet(folder / "index.parquet")
    after = digests(tmp_path)
    assert after[:2] == before[:2]
    assert (after[2] != before[2]) == labels


@pytest.mark.parametrize("column", ["clean_sha256", "degraded_sha256", "sample_id"])
def test_changed_pixels_are_trained_anew(tmp_path: Path, column: str):
    folder = write_toy_shards(tmp_path / "haze")
    before = digests(tmp_path)
    write_index(folder, read_index(folder).with_columns(pl.col(column).str.reverse()))
    assert digests(tmp_path)[0] != before[0]


def test_the_order_of_samples_counts(tmp_path: Path):
    folder = write_toy_shards(tmp_path / "haze")
    before = digests(tmp_path)
    index = read_index(folder)
    write_index(folder, index[np.arange(len(index))[::-1].tolist()])
    assert digests(tmp_path)[0] != before[0]


def test_a_list_is_read_as_it_was_written(tmp_path: Path):
    write_toy_shards(tmp_path / "haze")
    for labels in (False, True):
        split = list_split(tmp_path, {"haze": True}, labels=labels)
        write_split(tmp_path / "list.json", split)
        assert read_split(tmp_path / "list.json") == split
        assert ("labels" in (tmp_path / "list.json").read_text()) == labels


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: overwrite(folder, "record", 1), "the severity maps or records"),
        (lambda folder: write_index(folder, read_index(folder).with_columns(clean_id=pl.lit("x"))), "the pixels"),
        (lambda folder: write_index(folder, read_index(folder)[:2]), "the samples and the pixels"),
    ],
)
def test_shards_that_are_not_those_of_the_list_are_refused(tmp_path: Path, damage, named: str):
    folder = write_toy_shards(tmp_path / "haze")
    split = list_split(tmp_path, {"haze": True}, labels=True)
    check_split(tmp_path, split)
    damage(folder)
    with pytest.raises(DataError, match=f"haze: {named}.* are not those of the data set"):
        check_split(tmp_path, split)
