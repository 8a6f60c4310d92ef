"""Parquet tables with a fixed schema, byte-identical on every run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from cea.errors import DataError, foreign
from cea.io.images import atomic_path


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write ``table`` as Parquet, whole or not at all; the same rows give the same bytes."""
    with atomic_path(path) as temporary:
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
        table = pl.read_parquet(path)
    wrong = [name for name, kind in schema.items() if table.schema.get(name) != kind]
    if wrong:
        raise DataError(
            f"{path}: columns {', '.join(wrong)} are missing or of another type",
            expected=f"columns {', '.join(schema)}",
            remedy=remedy,
        )
    return table
