"""Shards: samples in WebDataset tars, with an index of byte ranges for random access.

Tar members per sample, adjacent: ``<sample_id>.clean.png``, ``.degraded.png``, ``.severity.png`` (uint8 grey, the K
bands stacked vertically) and ``.record.json``. With ``shard.store: records`` there is the last alone, and clean tiles
lie in tars of their own (`cea.data.tiles`). Beside the tars lie ``index.parquet`` (one row per sample, `INDEX`) and
``index.json`` (counts, bytes, one hash over all decoded pixels).

Nothing in a folder of shards is taken on trust: the summary has to fit the index, the index the tars, the pixels that
are read their digest in the index. Pictures are decoded only where their header states the size that the index does.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cea.data.summary import (
    LOCAL,
    REMEDY,
    Kind,
    Place,
    check_listed,
    digest_of,
    kind_of,
    read_summary,
    sane,
    write_summary,
)
from cea.data.tiles import tiles_folder, with_tiles
from cea.errors import DataError, ImageError
from cea.io.images import decode_png, pixel_sha256
from cea.io.tables import read_table, write_table

Part = Literal["clean", "degraded", "severity", "record"]
PARTS: dict[Part, str] = {"clean": "png", "degraded": "png", "severity": "png", "record": "json"}
"""The members of a sample and their suffixes, in the order in which they stand in the tar."""

INDEX: dict[str, Any] = {
    "sample_id": pl.String,
    "tar": pl.String,
    "recipe": pl.String,
    "clean_id": pl.String,
    "uniform": pl.Boolean,
    "components": pl.List(pl.String),
    "n_components": pl.Int32,
    "height": pl.Int32,
    "width": pl.Int32,
    **{f"{part}_{what}": pl.Int64 for part in PARTS for what in ("offset", "size")},
    "clean_sha256": pl.String,
    "degraded_sha256": pl.String,
}
"""Columns of ``index.parquet``: offsets and sizes in bytes within ``tar``; hashes of the decoded pixels."""

RECORDS: dict[str, Any] = dict.fromkeys(("tile", "severity_sha256", "severity_png_sha256", "record_sha256"), pl.String)
"""Further columns where the tars hold records: the tile that a sample is rendered from, digests of its severity maps as
pixels and as the PNG that the other store would hold, of its record as JSON. Offsets and sizes of its pictures are 0;
`read_index` puts those of the tile there, and adds the other columns of `cea.data.tiles.TILES`."""

_MOST_BANDS = 64


def read_index(folder: Path, place: Place = LOCAL) -> pl.DataFrame:
    """The index of a folder of shards, after checking that all its tars are there, whole, and those it speaks of.

    Args:
        folder: of one recipe and split.
        place: where its tars are.

    Raises:
        DataError: the folder, its index or a tar is missing, cut short or not ours; an index of other shards than
            the summary and the tars beside it.
    """
    index = read_table(folder / "index.parquet", INDEX, remedy=REMEDY)
    summary = read_summary(folder, place)
    _check_index(folder, index, summary)
    if kind_of(summary) == "pixels" or index.is_empty():
        return index
    read_table(folder / "index.parquet", RECORDS, remedy=REMEDY)
    return with_tiles(folder, index, place)


def write_index(folder: Path, index: pl.DataFrame) -> None:
    """Write the index of the tars in ``folder``, and its summary."""
    write_table(folder / "index.parquet", index)
    kind: Kind = "records" if "tile" in index.columns else "pixels"
    write_summary(folder, index["tar"], pixels_digest(index), kind)


def pixels_digest(index: pl.DataFrame) -> str:
    """One SHA-256 over the digests of all pictures, in the order of the index: what ``index.json`` states."""
    return digest_of(index["clean_sha256"], index["degraded_sha256"])


class Rows:
    """The rows of an index as dicts, held in arrays, which take less memory than Python objects.

    NumPy alone: a process that was forked may read it, which other libraries' threads do not outlive.

    Args:
        index: from `read_index`.
    """

    def __init__(self, index: pl.DataFrame) -> None:
        self._count = len(index)
        self._numbers: dict[str, NDArray[Any]] = {}
        self._texts: dict[str, NDArray[np.bytes_]] = {}
        self._lists: dict[str, tuple[list[list[str]], NDArray[np.int32]]] = {}
        for column in index:
            if column.dtype == pl.String:
                self._texts[column.name] = np.array([text.encode() for text in column], "S")
            elif column.dtype == pl.List(pl.String):
                self._lists[column.name] = _numbered(column)
            else:
                self._numbers[column.name] = column.to_numpy()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Row ``number`` with the columns of the index."""
        return (
            {name: values[number].item() for name, values in self._numbers.items()}
            | {name: values[number].decode() for name, values in self._texts.items()}
            | {name: list(values[places[number]]) for name, (values, places) in self._lists.items()}
        )

    def of_tar(self, tar: str) -> Iterator[dict[str, Any]]:
        """The rows of one tar."""
        return (self[int(number)] for number in np.flatnonzero(self.equal("tar", tar)))

    def distinct(self, column: str) -> list[list[str]]:
        """The different values of a column of lists."""
        return self._lists[column][0]

    def equal(self, column: str, text: str) -> NDArray[np.bool_]:
        """(rows,): whether a column of texts, if there is one, says ``text``."""
        values = self._texts.get(column)
        return np.zeros(len(self), bool) if values is None else values == text.encode()


def _numbered(column: pl.Series) -> tuple[list[list[str]], NDArray[np.int32]]:
    """The different values of a column of lists, and which of them each row has."""
    rows = [tuple(value) for value in column]
    known = {value: number for number, value in enumerate(dict.fromkeys(rows))}
    return list(map(list, known)), np.array([known[value] for value in rows], np.int32)


def is_rendered(row: Mapping[str, Any]) -> bool:
    """Whether the pixels of the sample that ``row`` describes are rendered from its record as they are read."""
    return "tile_tar" in row


def read_part(folder: Path, row: Mapping[str, Any], part: Part | Literal["depth"], place: Place = LOCAL) -> bytes:
    """The raw bytes of one member of the sample that ``row`` of the index describes.

    Raises:
        DataError: the tar is missing or cut short.
    """
    with place.opened(_tar(folder, row, part)) as handle:
        data = os.pread(handle, row[f"{part}_size"], row[f"{part}_offset"])
    if len(data) != row[f"{part}_size"]:
        raise corrupt(folder, row, part)
    return data


def read_image(folder: Path, row: Mapping[str, Any], part: Part | Literal["depth"], place: Place = LOCAL) -> Any:
    """One picture of a sample: (H, W, 3) uint8; severity as (K * H, W) uint8, depth as (H, W) uint16.

    Raises:
        DataError: the tar is missing, or the bytes at that place are not the pixels that the index describes.
    """
    data = read_part(folder, row, part, place)
    bands = max(1, row["n_components"]) if part == "severity" else 1
    colour = part in ("clean", "degraded")
    shape = (row["height"], row["width"], 3) if colour else (bands * row["height"], row["width"])
    if _png_size(data) != (shape[1], shape[0]):
        raise corrupt(folder, row, part)  # before the decoder takes the memory that its header asks for
    try:
        image = decode_png(data)
    except (ImageError, ValueError):
        raise corrupt(folder, row, part) from None
    if image.shape != shape or image.dtype != (np.uint16 if part == "depth" else np.uint8):
        raise corrupt(folder, row, part)
    if part != "severity" and pixel_sha256(image) != row[f"{part}_sha256"]:
        raise corrupt(folder, row, part)
    return image


def corrupt(folder: Path, row: Mapping[str, Any], part: str) -> DataError:
    """The error for a part of a sample that is not what its index describes."""
    return DataError(
        f"{_tar(folder, row, part)}: the {part} of sample {row['sample_id']!r} is damaged",
        expected="the bytes its index describes",
        remedy=REMEDY,
    )


def _tar(folder: Path, row: Mapping[str, Any], part: str) -> Path:
    of_tile = is_rendered(row) and part in ("clean", "depth")
    return tiles_folder(folder) / row["tile_tar"] if of_tile else folder / row["tar"]


def _check_index(folder: Path, index: pl.DataFrame, summary: Mapping[str, Any]) -> None:
    components = pl.col("n_components")
    whole = sane(PARTS, summary["tars"], components.clip(lower_bound=1)) & components.is_between(0, _MOST_BANDS)
    check_listed(
        folder / "index.parquet",
        index,
        summary,
        key="sample_id",
        sound=whole,
        digest=pixels_digest,
    )


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header of a PNG; None for anything else."""
    if len(data) < 24 or data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return int(width), int(height)
