"""The clean images and their table, as ``ingest`` leaves them and every later stage reads them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cea.errors import DataError
from cea.io.images import decode_png, pixel_sha256
from cea.io.tables import count_groups, read_parts, read_table
from cea.types import Image, ImageU8, Map

TABLE = "clean.parquet"
"""Name of the table within the folder of clean images."""

SCHEMA: dict[str, Any] = {
    "id": pl.String,
    "sha256": pl.String,
    "file": pl.String,
    "depth_file": pl.String,
    "height": pl.Int32,
    "width": pl.Int32,
    "kind": pl.String,
    "source": pl.String,
    "licence": pl.String,
    "split": pl.String,
    "phash": pl.String,
    "group": pl.String,
}
"""Columns of the table. ``sha256`` is that of the decoded pixels, ``file`` and ``depth_file`` are relative to the
table's folder, ``kind`` is photograph or leaves, ``phash`` the perceptual hash (16 hex digits), ``group`` the first id
among the near-duplicates of an image (its own where it has none)."""

_REMEDY = "run the ingest stage"
_GROUPS = 4
"""Row groups that are kept."""

_INSIDE = r"^(images|depth)/[^/\\]+\.png$"


@dataclass(frozen=True)
class CleanImage:
    """One clean image.

    Attributes:
        rgb: (H, W, 3) uint8.
        inverse_depth: (H, W) float32 in [0, 1], near = 1, or None where no depth is known.
    """

    rgb: ImageU8
    inverse_depth: Map | None


def read_clean(folder: Path) -> pl.DataFrame:
    """The table of clean images under ``folder``, one row per image, ordered by id.

    Raises:
        DataError: no table there, or not one of clean images.
    """
    return _checked(folder, read_table(folder / TABLE, SCHEMA, remedy=_REMEDY))


def clean_parts(folder: Path, columns: Iterable[str] = tuple(SCHEMA)) -> Iterator[pl.DataFrame]:
    """The same, or some columns of it, some thousand rows at a time.

    Raises:
        DataError: as `read_clean`, or the rows are not ordered by id, when it comes to the damage.
    """
    last = ""
    for part in read_parts(folder / TABLE, {name: SCHEMA[name] for name in columns}, remedy=_REMEDY):
        last = _last(folder, part, last) if "id" in part.columns else last
        yield _checked(folder, part)


class CleanRows:
    """Rows of the table of clean images by their ids, of which a few row groups are in memory.

    Args:
        folder: of the clean images.
        columns: that are read, with ``id``.

    Raises:
        DataError: as `read_clean`, or the rows are not ordered by id.
    """

    def __init__(self, folder: Path, columns: Iterable[str]) -> None:
        self._folder, self._schema = folder, {name: SCHEMA[name] for name in columns}
        self._firsts: list[str] = []
        last = ""
        for number in range(count_groups(folder / TABLE, remedy=_REMEDY)):
            firsts = [last]
            for part in self._read(number, {"id": SCHEMA["id"]}):
                last = _last(folder, part, last)
                firsts += part["id"].head(1).to_list()
            self._firsts.append(firsts[:2][-1])
        self._group = lru_cache(_GROUPS)(self._whole)

    def among(self, ids: pl.Series) -> pl.DataFrame:
        """All rows with these ids that there are, and others, in the order of the table."""
        numbers = {max(0, bisect_right(self._firsts, each) - 1) for each in ids.unique()}
        return pl.concat([pl.DataFrame(schema=self._schema), *map(self._group, sorted(numbers))])

    def _whole(self, number: int) -> pl.DataFrame:
        return pl.concat([pl.DataFrame(schema=self._schema), *self._read(number, self._schema)])

    def _read(self, number: int, schema: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
        parts = read_parts(self._folder / TABLE, schema, remedy=_REMEDY, groups=[number])
        return (_checked(self._folder, part) for part in parts)


def _last(folder: Path, part: pl.DataFrame, before: str) -> str:
    """The last id of a part of the table that follows the id ``before``."""
    ids = part["id"]
    if ids.has_nulls() or not ids.is_sorted() or (len(ids) and ids[0] < before):
        raise DataError(f"{folder / TABLE}: not ordered by id", expected="the table of ingest", remedy=_REMEDY)
    return str(ids[-1]) if len(ids) else before


def _checked(folder: Path, table: pl.DataFrame) -> pl.DataFrame:
    files = {"file", "depth_file"} & set(table.columns)
    outside = table.filter(~pl.all_horizontal(True, *(pl.col(name).str.contains(_INSIDE) for name in files)))
    if len(outside):  # null, which says that there is no depth file, passes
        named = " or ".join(repr(outside[name][0]) for name in ("file", "depth_file") if name in files)
        raise DataError(
            f"{folder / TABLE}: names the file {named}",
            expected="files of the folders images and depth beside it",
            remedy=_REMEDY,
        )
    return table


def load_clean(folder: Path, file: str, depth_file: str | None, sha256: str) -> CleanImage:
    """Read one clean image and check its pixels against the table's digest.

    Raises:
        DataError: a file is missing or its pixels changed.
    """
    rgb = decode_png(_read(folder / file))
    if pixel_sha256(rgb) != sha256:
        raise DataError(
            f"{folder / file}: its pixels changed since ingest",
            expected=f"pixel hash {sha256[:12]}",
            remedy="run ingest again",
        )
    if depth_file is None:
        return CleanImage(rgb, None)
    return CleanImage(rgb, decode_depth(_read(folder / depth_file)))


def decode_depth(data: bytes) -> Map:
    """Inverse depth of a 16-bit PNG as (H, W) float32 in [0, 1], near = 1."""
    return as_depth(decode_png(data))


def as_depth(codes: Image) -> Map:
    """16-bit codes as inverse depth in [0, 1], near = 1, float32 of the same shape."""
    return codes.astype(np.float32) / np.float32(65535)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file", expected="every file the table names", remedy="run ingest again"
        ) from None
