"""Shards: samples in WebDataset tars, with an index of byte ranges for random access.

Tar members per sample, adjacent: ``<sample_id>.clean.png``, ``.degraded.png``, ``.severity.png`` (uint8 grey, the K
bands stacked vertically) and ``.record.json``. With ``shard.store: records`` there is the last alone, and clean tiles
lie in tars of their own (`cea.data.tiles`). Beside the tars lie ``index.parquet`` (one row per sample, `INDEX`) and
``index.json`` (counts, bytes, one hash over all decoded pixels).

Nothing in a folder of shards is taken on trust: the summary has to fit the index, the index the tars, the pixels that
are read their digest in the index. Pictures are decoded only where their header states the size that the index does.
"""

from __future__ import annotations

import json
import os
import struct
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cea.data.summary import (
    LOCAL,
    REMEDY,
    Place,
    check_listed,
    kind_of,
    read_summary,
    sane,
    write_summary,
)
from cea.data.tiles import read_tile_index, tiles_folder, with_tiles
from cea.errors import DataError, ImageError
from cea.io.images import decode_png, pixel_sha256
from cea.io.tables import expect_columns, read_parts, write_rows, write_table

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
    parts = list(index_parts(folder, place))
    return pl.concat(parts) if parts else pl.DataFrame(schema=INDEX)


def index_parts(folder: Path, place: Place = LOCAL) -> Iterator[pl.DataFrame]:
    """The same as `read_index`, after the same checks, some thousand rows at a time.

    Raises:
        DataError: as `read_index`.
    """
    expect_columns(folder / "index.parquet", INDEX, remedy=REMEDY)
    summary = read_summary(folder, place)
    kind = kind_of(summary)
    schema = INDEX if kind == "pixels" or not summary["samples"] else INDEX | RECORDS
    _check_index(folder, schema, summary)
    parts = read_parts(folder / "index.parquet", schema, remedy=REMEDY)
    if schema is INDEX:
        return parts
    tiles = read_tile_index(tiles_folder(folder), place)
    return (with_tiles(folder, part, tiles) for part in parts)


def write_index(folder: Path, index: pl.DataFrame) -> None:
    """Write the index of the tars in ``folder``, and its summary."""
    write_table(folder / "index.parquet", index)
    write_summary(folder, _DIGESTS, "records" if "tile" in index.columns else "pixels")


def write_index_rows(folder: Path, rows: Iterable[Mapping[str, Any]], schema: Mapping[str, Any]) -> int:
    """The same, of ``rows`` with the columns of ``schema``, few of which are in memory at a time; how many."""
    count = write_rows(folder / "index.parquet", rows, schema)
    write_summary(folder, _DIGESTS, "records" if "tile" in schema else "pixels")
    return count


_DIGESTS = ("clean_sha256", "degraded_sha256")
"""Columns with digests of all pictures; one SHA-256 over them stands in ``index.json``."""


_TARS = {"tar", "tile_tar"}


class Rows:
    """The rows of an index as dicts, kept in a file without a name: twenty bytes of each are in memory.

    Without other libraries' threads, which a process that was forked does not have. It may be pickled.

    Args:
        parts: of the index, from `index_parts`.
    """

    def __init__(self, parts: Iterable[pl.DataFrame]) -> None:
        ends: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._tars: dict[str, dict[str, int]] = {}
        tars: dict[str, list[NDArray[np.int32]]] = {}
        components: dict[tuple[str, ...], None] = {}
        with TemporaryFile() as file:
            for part in parts:
                rows = [json.dumps(row).encode() for row in part.iter_rows(named=True)]
                file.write(b"".join(rows))
                ends.append(ends[-1][-1] + np.cumsum(list(map(len, rows)), dtype=np.int64))
                components |= dict.fromkeys(map(tuple, part["components"]))
                for column in _TARS & set(part.columns):
                    known = self._tars.setdefault(column, {})
                    numbers = [known.setdefault(name, len(known)) for name in part[column]]
                    tars.setdefault(column, []).append(np.array(numbers, np.int32))
            self._hold(file)
        self._ends = np.concatenate(ends)
        self._of_tar = {column: np.concatenate(numbers) for column, numbers in tars.items()}
        self._components = list(map(list, components))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Row ``number`` with the columns of the index."""
        number = range(len(self))[number]
        begin, end = map(int, self._ends[number : number + 2])
        row: dict[str, Any] = json.loads(os.pread(self._file, end - begin, begin))
        return row

    def _hold(self, file: IO[bytes]) -> None:
        """Keep a temporary file, which nobody else sees, as long as the rows are there."""
        file.flush()
        self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)

    def __getstate__(self) -> dict[str, Any]:
        """With the bytes of the file, which is this process's."""
        return vars(self) | {"_file": os.pread(self._file, int(self._ends[-1]), 0)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Write them into a file of one's own."""
        vars(self).update(state)
        with TemporaryFile() as file:
            file.write(state["_file"])
            self._hold(file)

    def of_tar(self, tar: str) -> Iterator[dict[str, Any]]:
        """The rows of one tar."""
        return (self[int(number)] for number in np.flatnonzero(self.equal("tar", tar)))

    def components(self) -> list[list[str]]:
        """The different lists of components."""
        return self._components

    def equal(self, column: str, name: str) -> NDArray[np.bool_]:
        """(rows,): whether ``tar`` or ``tile_tar``, if there is such a column, names this tar."""
        if column not in self._of_tar:
            return np.zeros(len(self), bool)
        return self._of_tar[column] == self._tars[column].get(name, -1)


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


def _check_index(folder: Path, schema: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    components = pl.col("n_components")
    whole = sane(PARTS, summary["tars"], components.clip(lower_bound=1)) & components.is_between(0, _MOST_BANDS)
    check_listed(folder, schema, summary, key="sample_id", sound=whole, digests=_DIGESTS)


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header of a PNG; None for anything else."""
    if len(data) < 24 or data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return int(width), int(height)
