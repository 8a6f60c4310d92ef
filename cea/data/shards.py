"""Shards: rendered samples in WebDataset tars, with an index of byte ranges for random access.

Tar members per sample, adjacent: ``<sample_id>.clean.png``, ``.degraded.png``, ``.severity.png`` (uint8 grey, the K
bands stacked vertically) and ``.record.json``. Beside the tars lie ``index.parquet`` (one row per sample, `INDEX`) and
``index.json`` (counts, bytes, one hash over all decoded pixels).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cea.errors import DataError, ImageError
from cea.io.images import decode_png, pixel_sha256
from cea.io.tables import read_table
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

_REMEDY = "make the shards again (dvc repro), or pass the folder of one recipe and split"
FORMAT = 1


@dataclass(frozen=True)
class Sample:
    """One sample as it lies in a shard.

    Attributes:
        clean: (H, W, 3) uint8.
        degraded: (H, W, 3) uint8.
        severity: (K, H, W) uint8, one band per component in the order of the record's nodes, 255 = full.
        record: the record that renders it, as its JSON says; ``records.to_record`` makes it a Record.
    """

    clean: ImageU8
    degraded: ImageU8
    severity: NDArray[np.uint8]
    record: dict[str, Any]


def read_index(folder: Path) -> pl.DataFrame:
    """The index of a folder of shards, after checking that all its tars are there with their full length.

    Raises:
        DataError: the folder, its index or a tar is missing, cut short or not ours.
    """
    index = read_table(folder / "index.parquet", INDEX, remedy=_REMEDY)
    for name, facts in _read_summary(folder)["tars"].items():
        size = (folder / name).stat().st_size if (folder / name).is_file() else None
        if size != facts["bytes"]:
            raise DataError(
                f"{folder / name}: {'missing' if size is None else f'{size} bytes'}",
                expected=f"{facts['bytes']} bytes",
                remedy=_REMEDY,
            )
    return index


def read_part(folder: Path, row: Mapping[str, Any], part: Part) -> bytes:
    """The raw bytes of one member of the sample that ``row`` of the index describes."""
    path = folder / row["tar"]
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", expected="the tar its index names", remedy=_REMEDY) from None
    try:
        data = os.pread(handle, row[f"{part}_size"], row[f"{part}_offset"])
    finally:
        os.close(handle)
    if len(data) != row[f"{part}_size"]:
        raise _corrupt(folder, row, part)
    return data


def read_pair(folder: Path, row: Mapping[str, Any]) -> tuple[ImageU8, ImageU8]:
    """The clean and the degraded image of ``row``, each (H, W, 3) uint8: all that training needs."""
    return _read_image(folder, row, "clean"), _read_image(folder, row, "degraded")


def read_sample(folder: Path, row: Mapping[str, Any]) -> Sample:
    """Everything that the shard holds of the sample that ``row`` of the index describes.

    Raises:
        DataError: the tar is missing, or the bytes at that place are no such sample.
    """
    clean, degraded = read_pair(folder, row)
    bands = _read_image(folder, row, "severity").reshape(-1, row["height"], row["width"])[: row["n_components"]]
    try:
        record = json.loads(read_part(folder, row, "record"))
    except ValueError:
        raise _corrupt(folder, row, "record") from None
    return Sample(clean, degraded, bands, record)


def verify(folder: Path) -> None:
    """Decode every sample of ``folder`` and compare its pixels with the index's hashes.

    Raises:
        DataError: naming the first tar and sample that differ.
    """
    for row in read_index(folder).iter_rows(named=True):
        sample = read_sample(folder, row)
        actual = (pixel_sha256(sample.clean), pixel_sha256(sample.degraded), sample.record.get("sample_id"))
        if actual != (row["clean_sha256"], row["degraded_sha256"], row["sample_id"]):
            raise _corrupt(folder, row, "pixels")


def _read_summary(folder: Path) -> dict[str, Any]:
    path = folder / "index.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if summary["format"] == FORMAT and isinstance(summary["tars"], dict):
            return summary
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", expected="the shards' summary", remedy=_REMEDY) from None
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{path}: not a summary of shards", expected=f"format {FORMAT}", remedy=_REMEDY)


def _read_image(folder: Path, row: Mapping[str, Any], part: Part) -> Any:
    data = read_part(folder, row, part)
    try:
        image = decode_png(data)
    except (ImageError, ValueError):
        raise _corrupt(folder, row, part) from None
    if part != "severity" and image.shape != (row["height"], row["width"], 3):
        raise _corrupt(folder, row, part)
    return image


def _corrupt(folder: Path, row: Mapping[str, Any], part: str) -> DataError:
    return DataError(
        f"{folder / row['tar']}: the {part} of sample {row['sample_id']!r} is damaged",
        expected="the bytes its index describes",
        remedy=_REMEDY,
    )
