"""Parquet tables with a fixed schema, byte-identical on every run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from pyarrow.parquet import ParquetFile

from cea.errors import DataError, brief, foreign
from cea.io.images import atomic_path

_MOST_ROWS = 100_000_000
"""Above this the footer is taken for damaged or hostile: a repeated value costs a file nothing, and us its memory."""

_ROWS = 4096
"""Rows of a table that are Python objects at a time: as such they take several times the memory."""

T = TypeVar("T")


def in_parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, in their order; the last may be shorter."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def as_table(rows: Iterable[Mapping[str, Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    """``rows`` as a table with the columns of ``schema``, a few thousand of them taken at a time."""
    parts = (pl.DataFrame(some, schema=schema) for some in in_parts(rows, _ROWS))
    return pl.concat([pl.DataFrame(schema=schema), *parts])


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write ``table`` as Parquet, whole or not at all; the same rows give the same bytes."""
    full = foreign(path, expected="a disk with room", remedy="free some space and run again")
    with atomic_path(path) as temporary, full:
        # One row group, so that the layout does not depend on the number of threads.
        table.rechunk().write_parquet(temporary, compression="zstd", row_group_size=max(len(table), 1))


def read_table(path: Path, schema: Mapping[str, Any], *, remedy: str) -> pl.DataFrame:
    """Read a Parquet table and check that it holds the columns of ``schema`` with their types.

    Raises:
        DataError: missing, not Parquet, or with other columns; the message ends with ``remedy``.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file", expected="a Parquet table", remedy=remedy)
    with foreign(path, expected="a complete Parquet table", remedy=remedy):
        table = _read(path)
    wrong = [name for name, kind in schema.items() if table.schema.get(name) != kind]
    if wrong:
        raise DataError(
            f"{path}: columns {', '.join(wrong)} are missing or of another type",
            expected=f"columns {', '.join(schema)}",
            remedy=remedy,
        )
    return table


def _read(path: Path) -> pl.DataFrame:
    """By Arrow's reader: Polars' own takes sizes in a file at their word, and where there is not so much memory, the
    process is aborted."""
    with ParquetFile(path) as file:
        rows = file.metadata.num_rows
        if rows > _MOST_ROWS:
            raise ValueError(f"{rows} rows by its footer, and at most {_MOST_ROWS} are read")
        return pl.concat([_column(file, name, rows) for name in file.schema_arrow.names], how="horizontal")


def _column(file: ParquetFile, name: str, rows: int) -> pl.DataFrame:
    """One column, so that no table is in memory twice."""
    column = file.read([name], use_threads=False)
    column.validate(full=True)
    if column.column_names != [name] or len(column) != rows:
        raise ValueError(f"not one column {name!r} of {rows} values")
    try:
        return pl.DataFrame(pl.from_arrow(column))
    except pl.exceptions.PanicException as error:  # no Exception: what Rust gives up on
        raise ValueError(brief(error)) from None
