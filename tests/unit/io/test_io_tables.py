"""Parquet tables: what was written is read; what is damaged is one line, in a process that goes on."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cea.errors import DataError, one_line
from cea.io.tables import as_table, in_parts, read_table, write_table
from tests.field.mutations import mutated

SCHEMA = {
    "name": pl.String,
    "count": pl.Int32,
    "share": pl.Float64,
    "even": pl.Boolean,
    "parts": pl.List(pl.String),
    "crop": pl.List(pl.Int32),
}


def rows(count: int) -> list[dict[str, object]]:
    return [
        {
            "name": f"näme {number}" if number % 7 else None,
            "count": number,
            "share": number / 3,
            "even": number % 2 == 0,
            "parts": ["low", "haze"][: number % 3],
            "crop": [number, 0, 48, 48] if number % 5 else None,
        }
        for number in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 9000])
def test_what_was_written_is_read(tmp_path: Path, count: int):
    table = as_table(rows(count), SCHEMA)
    assert table.equals(pl.DataFrame(rows(count), schema=SCHEMA))
    write_table(tmp_path / "t.parquet", table)
    found = read_table(tmp_path / "t.parquet", SCHEMA, remedy="run again")
    assert found.schema == pl.Schema(SCHEMA)
    assert found.equals(table)


def test_a_table_that_is_made_in_parts_has_the_bytes_of_one_made_at_once(tmp_path: Path):
    write_table(tmp_path / "parts.parquet", as_table(iter(rows(9000)), SCHEMA))
    write_table(tmp_path / "whole.parquet", pl.DataFrame(rows(9000), schema=SCHEMA))
    assert (tmp_path / "parts.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_parts_are_all_of_it_in_order():
    assert list(in_parts(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(in_parts([], 2)) == []


def test_damaged_tables_are_read_or_one_line_and_say_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Polars' own reader panics on some of these, with its stack on standard error, and aborts on others."""
    path = tmp_path / "t.parquet"
    write_table(path, as_table(rows(40), SCHEMA))
    whole = path.read_bytes()
    refused: list[DataError] = []
    for seed in range(300):
        path.write_bytes(mutated(whole, np.random.default_rng(seed)))
        try:
            read_table(path, SCHEMA, remedy="run again")
        except DataError as error:
            refused.append(error)
    assert len(refused) > 100
    assert all(str(path) in str(error) and len(one_line(error).splitlines()) == 1 for error in refused)
    assert capfd.readouterr() == ("", "")


def test_a_footer_that_is_longer_than_its_file_is_one_line(tmp_path: Path):
    path = tmp_path / "t.parquet"
    write_table(path, as_table(rows(3), SCHEMA))
    whole = path.read_bytes()
    for stated in (0, len(whole), 2**31 - 1, 2**32 - 1):
        path.write_bytes(whole[:-8] + struct.pack("<I", stated) + whole[-4:])
        with pytest.raises(DataError, match=r"t\.parquet: .*; expected a complete Parquet table; run again"):
            read_table(path, SCHEMA, remedy="run again")


def test_more_rows_than_any_table_has_are_refused_before_they_take_memory(tmp_path: Path):
    """A value that repeats costs a file nothing."""
    pl.DataFrame({"a": pl.zeros(100_000_001, dtype=pl.Int8, eager=True)}).write_parquet(tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 1 << 20
    with pytest.raises(DataError, match="100000001 rows by its footer, and at most 100000000 are read"):
        read_table(tmp_path / "t.parquet", {"a": pl.Int8}, remedy="run again")
