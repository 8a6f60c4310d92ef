"""Shards: rendered samples in WebDataset tars, with an index of byte ranges for random access.

Tar members per sample, adjacent: ``<sample_id>.clean.png``, ``.degraded.png``, ``.severity.png`` (uint8 grey, the K
bands stacked vertically) and ``.record.json``. Beside the tars lie ``index.parquet`` (one row per sample, `INDEX`) and
``index.json`` (counts, bytes, one hash over all decoded pixels).

Nothing in a folder of shards is taken on trust: the summary has to fit the index, the index the tars, the pixels that
are read their digest in the index. Pictures are decoded only where their header states the size that the index does.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cea.errors import DataError, ImageError, brief
from cea.io.images import decode_png, pixel_sha256, write_bytes
from cea.io.photo import largest_pixels
from cea.io.tables import read_table, write_table
from cea.types import ImageU8

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

REMEDY = "make the shards again (dvc repro), or pass the folder of one recipe and split"
ROWS = 4096
"""Rows of a table that are Python objects at a time."""

_TAR = re.compile(r"[^/\\\0]+\.tar")
_MOST_BANDS = 64
FORMAT = 1


@dataclass(frozen=True)
class Sample:
    """One sample as it lies in a shard.

    Attributes:
        clean: (H, W, 3) uint8.
        degraded: (H, W, 3) uint8.
        severity: (K, H, W) uint8, one band per component in the order of the record's nodes, 255 = full; None for a
            sample that was packed without.
        record: the record that renders it, as its JSON says; ``records.to_record`` makes it a Record.
    """

    clean: ImageU8
    degraded: ImageU8
    severity: NDArray[np.uint8] | None
    record: dict[str, Any]


def read_index(folder: Path) -> pl.DataFrame:
    """The index of a folder of shards, after checking that all its tars are there, whole, and those it speaks of.

    Raises:
        DataError: the folder, its index or a tar is missing, cut short or not ours; an index of other shards than
            the summary and the tars beside it.
    """
    index = read_table(folder / "index.parquet", INDEX, remedy=REMEDY)
    summary = _read_summary(folder)
    sizes = {name: _size(folder, name, facts) for name, facts in summary["tars"].items()}
    _check_index(folder, index, summary, sizes)
    return index


def write_index(folder: Path, index: pl.DataFrame) -> None:
    """Write the index of the tars in ``folder``, and its summary."""
    write_table(folder / "index.parquet", index)
    tars = {
        name: {"samples": count, "bytes": (folder / name).stat().st_size}
        for name, count in index.group_by("tar", maintain_order=True).len().iter_rows()
    }
    summary = {
        "format": FORMAT,
        "samples": len(index),
        "bytes": sum(facts["bytes"] for facts in tars.values()),
        "pixels_sha256": pixels_digest(index),
        "tars": tars,
    }
    write_bytes(folder / "index.json", (json.dumps(summary, indent=1) + "\n").encode())


def pixels_digest(index: pl.DataFrame) -> str:
    """One SHA-256 over the digests of all pictures, in the order of the index: what ``index.json`` states."""
    digest = hashlib.sha256()
    for column in ("clean_sha256", "degraded_sha256"):
        for some in index.select(column).iter_slices(ROWS):
            digest.update("".join(some[column]).encode())
    return digest.hexdigest()


def read_part(folder: Path, row: Mapping[str, Any], part: Part) -> bytes:
    """The raw bytes of one member of the sample that ``row`` of the index describes."""
    path = folder / row["tar"]
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", expected="the tar its index names", remedy=REMEDY) from None
    try:
        data = os.pread(handle, row[f"{part}_size"], row[f"{part}_offset"])
    finally:
        os.close(handle)
    if len(data) != row[f"{part}_size"]:
        raise corrupt(folder, row, part)
    return data


def read_pair(folder: Path, row: Mapping[str, Any]) -> tuple[ImageU8, ImageU8]:
    """The clean and the degraded image of ``row``, each (H, W, 3) uint8: all that training needs.

    Raises:
        DataError: the tar is missing, or the pixels at that place are not those that the index describes.
    """
    return _read_image(folder, row, "clean"), _read_image(folder, row, "degraded")


def read_severity(folder: Path, row: Mapping[str, Any]) -> NDArray[np.uint8] | None:
    """The severity maps of ``row``, (n, H, W) uint8, one band per component; None for a sample that holds none.

    Raises:
        DataError: the tar is missing, or the bytes at that place are no such maps.
    """
    if not row["severity_size"]:
        return None
    bands = _read_image(folder, row, "severity").reshape(-1, row["height"], row["width"])
    maps: NDArray[np.uint8] = bands[: row["n_components"]]  # a sample without components has a band of zeros
    return maps


def read_sample(folder: Path, row: Mapping[str, Any]) -> Sample:
    """Everything that the shard holds of the sample that ``row`` of the index describes.

    Raises:
        DataError: the tar is missing, or the bytes at that place are no such sample.
    """
    clean, degraded = read_pair(folder, row)
    bands = read_severity(folder, row)
    try:
        record = json.loads(read_part(folder, row, "record"))
    except (ValueError, RecursionError):
        raise corrupt(folder, row, "record") from None
    if not isinstance(record, dict):
        raise corrupt(folder, row, "record")
    return Sample(clean, degraded, bands, record)


def _read_summary(folder: Path) -> dict[str, Any]:
    path = folder / "index.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        _check_summary(summary)
        return dict(summary)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", expected="the shards' summary", remedy=REMEDY) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f" ({brief(error)})" if isinstance(error, (OSError, ValueError)) else ""
        raise DataError(f"{path}: not a summary of shards{why}", expected=f"format {FORMAT}", remedy=REMEDY) from None


def _check_summary(summary: Any) -> None:
    """ValueError, KeyError or TypeError for what `write_shards` would not have written."""
    if summary["format"] != FORMAT:
        raise ValueError(f"format {str(summary['format'])[:20]!r}")
    for name, facts in summary["tars"].items():
        if not _TAR.fullmatch(name) or name.startswith(".."):
            raise ValueError(f"a tar called {name[:100]!r}")
        if not all(isinstance(facts[key], int) for key in ("samples", "bytes")):
            raise ValueError(f"no size of {name!r}")
    if not isinstance(summary["pixels_sha256"], str):
        raise ValueError("no digest of the pixels")


def _size(folder: Path, name: str, facts: Mapping[str, Any]) -> int:
    size = (folder / name).stat().st_size if (folder / name).is_file() else None
    if size is None or size != facts["bytes"]:
        raise DataError(
            f"{folder / name}: {'missing' if size is None else f'{size} bytes'}",
            expected=f"{facts['bytes']} bytes",
            remedy=REMEDY,
        )
    return size


def _check_index(folder: Path, index: pl.DataFrame, summary: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    """Refuse an index that is not of these tars, or that would have bytes read or memory taken that no sample needs."""
    samples = dict(index.group_by("tar").len().iter_rows())
    within = [
        pl.col(f"{part}_offset").ge(0) & pl.col(f"{part}_size").ge(0)
        & (pl.col(f"{part}_offset") + pl.col(f"{part}_size")).le(pl.col("tar").replace_strict(dict(sizes), default=-1))
        for part in PARTS
    ]  # fmt: skip
    pixels = pl.col("height").cast(pl.Int64) * pl.col("width") * pl.col("n_components").clip(lower_bound=1)
    sane = pl.all_horizontal(
        *within,
        pl.col("height").ge(1),
        pl.col("width").ge(1),
        pl.col("n_components").is_between(0, _MOST_BANDS),
        pixels.le(largest_pixels()),
        *(pl.col(name).is_not_null() for name in INDEX),
    )
    listed = {name: facts["samples"] for name, facts in summary["tars"].items() if facts["samples"]}
    if not index.select(sane.all()).item():
        fault = "places outside the tars, or sizes that no picture has"
    elif index["sample_id"].n_unique() != len(index):
        fault = "one sample twice"
    elif samples != listed:
        fault = "other tars than the summary"
    elif pixels_digest(index) != summary["pixels_sha256"]:
        fault = "other pixels than the summary"
    else:
        return
    raise DataError(f"{folder / 'index.parquet'}: {fault}", expected="the index that index.json sums up", remedy=REMEDY)


def _read_image(folder: Path, row: Mapping[str, Any], part: Part) -> Any:
    data = read_part(folder, row, part)
    bands = max(1, row["n_components"]) if part == "severity" else 1
    shape = (bands * row["height"], row["width"]) if part == "severity" else (row["height"], row["width"], 3)
    if _png_size(data) != (shape[1], shape[0]):
        raise corrupt(folder, row, part)  # before the decoder takes the memory that its header asks for
    try:
        image = decode_png(data)
    except (ImageError, ValueError):
        raise corrupt(folder, row, part) from None
    if image.shape != shape or image.dtype != np.uint8:
        raise corrupt(folder, row, part)
    if part != "severity" and pixel_sha256(image) != row[f"{part}_sha256"]:
        raise corrupt(folder, row, part)
    return image


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header of a PNG; None for anything else."""
    if len(data) < 24 or data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return int(width), int(height)


def corrupt(folder: Path, row: Mapping[str, Any], part: str) -> DataError:
    """The error for a part of a sample that is not what its index describes."""
    return DataError(
        f"{folder / row['tar']}: the {part} of sample {row['sample_id']!r} is damaged",
        expected="the bytes its index describes",
        remedy=REMEDY,
    )
