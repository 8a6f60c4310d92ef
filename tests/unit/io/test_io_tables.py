"""Parquet tables: what was written is read; what is damaged is one line, in a process that goes on."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cea.errors import DataError, one_line
from cea.io import tables
from cea.io.tables import as_table, expect_columns, read_parts, read_table, write_rows, write_table
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


@pytest.mark.parametrize("count", [0, 1, 8192, 8193, 30_000])
def test_rows_are_written_as_they_come(tmp_path: Path, count: int):
    """A table that is not long has the bytes that it has at once; a long one the same rows, in groups."""
    assert write_rows(tmp_path / "rows.parquet", iter(rows(count)), SCHEMA) == count
    whole = as_table(rows(count), SCHEMA)
    write_table(tmp_path / "whole.parquet", whole)
    same = (tmp_path / "rows.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert same == (count <= 8192)
    assert read_table(tmp_path / "rows.parquet", SCHEMA, remedy="run again").equals(whole)
    write_rows(tmp_path / "again.parquet", iter(rows(count)), SCHEMA)
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "rows.parquet").read_bytes()
    for file in ("rows", "whole"):
        parts = list(read_parts(tmp_path / f"{file}.parquet", SCHEMA, remedy="run again"))
        assert max(map(len, parts), default=0) <= 4096
        assert pl.concat([pl.DataFrame(schema=SCHEMA), *parts]).equals(whole)


def test_few_rows_are_in_memory_while_they_are_written_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "_ROWS", 10)
    monkeypatch.setattr(tables, "_GROUP", 20)
    asked: list[int] = []
    write = tables.ParquetWriter.write_table

    def written(self: tables.ParquetWriter, group: tables.Table) -> None:
        asked.append(drawn[0] - sum(sizes))
        sizes.append(len(group))
        write(self, group)

    drawn, sizes = [0], list[int]()

    def drawing():
        for row in rows(95):
            drawn[0] += 1
            yield row

    monkeypatch.setattr(tables.ParquetWriter, "write_table", written)
    assert write_rows(tmp_path / "t.parquet", drawing(), SCHEMA) == 95
    assert sizes == [20, 20, 20, 20, 15]
    assert max(asked) <= 40


def test_an_error_on_the_way_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "t.parquet"
    write_rows(path, rows(3), SCHEMA)
    before = path.read_bytes()

    def failing():
        yield from rows(20_000)
        raise DataError("no more", expected="more", remedy="wait")

    with pytest.raises(DataError, match=r"^no more; expected more; wait$"):
        write_rows(path, failing(), SCHEMA)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["t.parquet"]


def test_parts_of_another_table_are_refused_before_any_is_given(tmp_path: Path):
    write_rows(tmp_path / "t.parquet", rows(3), SCHEMA)
    other = {"name": pl.String, "count": pl.Int64, "more": pl.String}
    for name, says in (("none", "no such file"), ("t", "columns count, more are missing or of another type")):
        path = tmp_path / f"{name}.parquet"
        with pytest.raises(DataError, match=rf"{name}\.parquet: {says}.*; run again"):
            next(read_parts(path, other, remedy="run again"))
        with pytest.raises(DataError, match=rf"{name}\.parquet: {says}.*; run again"):
            expect_columns(path, other, remedy="run again")


def read_whole(path: Path) -> None:
    read_table(path, SCHEMA, remedy="run again")


def read_by_parts(path: Path) -> None:
    for _ in read_parts(path, SCHEMA, remedy="run again"):
        pass


@pytest.mark.parametrize("read", [read_whole, read_by_parts])
def test_damaged_tables_are_read_or_one_line_and_say_nothing_else(
    read: Callable[[Path], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """Polars' own reader panics on some of these, with its stack on standard error, and aborts on others."""
    path = tmp_path / "t.parquet"
    write_table(path, as_table(rows(40), SCHEMA))
    whole = path.read_bytes()
    refused: list[DataError] = []
    for seed in range(300):
        path.write_bytes(mutated(whole, np.random.default_rng(seed)))
        try:
            read(path)
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
