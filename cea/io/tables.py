"""Parquet tables with a fixed schema, byte-identical on every run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice, repeat, takewhile
from pathlib import Path
from typing import Any

import polars as pl
from pyarrow import Table
from pyarrow.parquet import ParquetFile, ParquetWriter

from cea.errors import DataError, brief, foreign
from cea.io.images import atomic_path
from cea.io.sequences import in_parts

_MOST_ROWS = 100_000_000
"""Above this the footer is taken for damaged or hostile: a repeated value costs a file nothing, and us its memory."""

_ROWS = 4096
"""Rows of a table that are Python objects at a time: as such they take several times the memory."""

_GROUP = 8192
"""Rows of a longer table that are in memory at a time when it is written row by row."""


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


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: Mapping[str, Any]) -> int:
    """Write ``rows`` as Parquet with the columns of ``schema``, whole or not at all; how many there were.

    Up to some thousand rows give the bytes of `write_table`. Of more, no more than that are in memory at a time.
    """
    left = iter(rows)
    first, second = (as_table(islice(left, _GROUP), schema) for _ in range(2))
    if second.is_empty():
        write_table(path, first)
        return len(first)
    count = 0
    full = partial(foreign, path, expected="a disk with room", remedy="free some space and run again")
    with atomic_path(path) as temporary:
        with full():
            file = ParquetWriter(temporary, _as_arrow(first).schema, compression="zstd")
        try:
            further = (as_table(islice(left, _GROUP), schema) for _ in repeat(None))
            for group in chain([first, second], takewhile(len, further)):
                count += len(group)
                with full():
                    file.write_table(_as_arrow(group))
        finally:
            with full():
                file.close()
    return count


def _as_arrow(table: pl.DataFrame) -> Table:
    return table.to_arrow(compat_level=pl.CompatLevel.oldest())


def read_parts(
    path: Path, schema: Mapping[str, Any], *, remedy: str, groups: Sequence[int] | None = None
) -> Iterator[pl.DataFrame]:
    """The columns of ``schema`` of a Parquet table, some thousand rows at a time; checked as by `read_table`.

    Args:
        path: the table.
        schema: names and types of columns.
        remedy: what to do where it is none.
        groups: numbers of the row groups that are read; None for all.

    Raises:
        DataError: missing, not Parquet, or without these columns; the message ends with ``remedy``.
    """
    damaged = partial(foreign, path, expected="a complete Parquet table", remedy=remedy)
    _expect(path, remedy)
    with damaged():
        file = _opened(path)
    with file:
        with damaged():
            found = _columns(file)
        _check_columns(path, found, schema, remedy)
        # One row group after the other: asked for several, Arrow keeps the bytes of all that it has read.
        for group in range(file.metadata.num_row_groups) if groups is None else groups:
            with damaged():
                batches = file.iter_batches(_ROWS, row_groups=[group], columns=list(schema), use_threads=False)
            while True:
                with damaged():
                    batch = next(batches, None)
                    if batch is None:
                        break
                    batch.validate(full=True)
                    part = pl.DataFrame(_from_arrow(batch)).select(list(schema))
                yield part


def count_groups(path: Path, *, remedy: str) -> int:
    """How many row groups a Parquet table has.

    Raises:
        DataError: missing, or not Parquet; the message ends with ``remedy``.
    """
    _expect(path, remedy)
    with foreign(path, expected="a complete Parquet table", remedy=remedy), _opened(path) as file:
        count: int = file.metadata.num_row_groups
    return count


def read_table(path: Path, schema: Mapping[str, Any], *, remedy: str) -> pl.DataFrame:
    """Read a Parquet table and check that it holds the columns of ``schema`` with their types.

    Raises:
        DataError: missing, not Parquet, or with other columns; the message ends with ``remedy``.
    """
    _expect(path, remedy)
    with foreign(path, expected="a complete Parquet table", remedy=remedy):
        table = _read(path)
    _check_columns(path, table.schema, schema, remedy)
    return table


def expect_columns(path: Path, schema: Mapping[str, Any], *, remedy: str) -> None:
    """Refuse what is no Parquet table with the columns of ``schema``.

    Raises:
        DataError: as `read_table`; only the columns' names and types are looked at.
    """
    _expect(path, remedy)
    with foreign(path, expected="a complete Parquet table", remedy=remedy), _opened(path) as file:
        found = _columns(file)
    _check_columns(path, found, schema, remedy)


def _columns(file: ParquetFile) -> Mapping[str, Any]:
    return pl.DataFrame(_from_arrow(file.schema_arrow.empty_table())).schema


def _expect(path: Path, remedy: str) -> None:
    if not path.exists():
        raise DataError(f"{path}: no such file", expected="a Parquet table", remedy=remedy)


def _check_columns(path: Path, found: Mapping[str, Any], schema: Mapping[str, Any], remedy: str) -> None:
    wrong = [name for name, kind in schema.items() if found.get(name) != kind]
    if wrong:
        raise DataError(
            f"{path}: columns {', '.join(wrong)} are missing or of another type",
            expected=f"columns {', '.join(schema)}",
            remedy=remedy,
        )


def _opened(path: Path) -> ParquetFile:
    """By Arrow's reader: Polars' own takes sizes in a file at their word, and where there is not so much memory, the
    process is aborted."""
    file = ParquetFile(path)
    rows = file.metadata.num_rows
    if rows > _MOST_ROWS:
        file.close()
        raise ValueError(f"{rows} rows by its footer, and at most {_MOST_ROWS} are read")
    return file


def _read(path: Path) -> pl.DataFrame:
    with _opened(path) as file:
        rows = file.metadata.num_rows
        return pl.concat([_column(file, name, rows) for name in file.schema_arrow.names], how="horizontal")


def _column(file: ParquetFile, name: str, rows: int) -> pl.DataFrame:
    """One column, so that no table is in memory twice."""
    column = file.read([name], use_threads=False)
    column.validate(full=True)
    if column.column_names != [name] or len(column) != rows:
        raise ValueError(f"not one column {name!r} of {rows} values")
    return pl.DataFrame(_from_arrow(column))


def _from_arrow(values: Any) -> Any:
    try:
        return pl.from_arrow(values)
    except pl.exceptions.PanicException as error:  # no Exception: what Rust gives up on
        raise ValueError(brief(error)) from None
