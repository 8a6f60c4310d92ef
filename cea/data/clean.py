"""The clean images and their table, as ``ingest`` leaves them and every later stage reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cea.errors import DataError
from cea.io.images import decode_png, pixel_sha256
from cea.io.tables import read_table
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
    table = read_table(folder / TABLE, SCHEMA, remedy="run the ingest stage")
    outside = table.filter(~pl.all_horizontal(pl.col(name).str.contains(_INSIDE) for name in ("file", "depth_file")))
    if len(outside):  # null, which says that there is no depth file, passes
        raise DataError(
            f"{folder / TABLE}: names the file {outside['file'][0]!r} or {outside['depth_file'][0]!r}",
            expected="files of the folders images and depth beside it",
            remedy="run the ingest stage",
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
