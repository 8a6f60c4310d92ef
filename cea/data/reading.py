"""Samples out of shards, whichever store they are in: the same pixels, each against its digest in the index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cea.data.rendered import render_sample
from cea.data.shards import corrupt, is_rendered, read_image, read_part
from cea.data.summary import LOCAL, Place
from cea.types import ImageU8


@dataclass(frozen=True)
class Sample:
    """One sample of a shard.

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


def read_pair(folder: Path, row: Mapping[str, Any], place: Place = LOCAL) -> tuple[ImageU8, ImageU8]:
    """The clean and the degraded image of ``row``, each (H, W, 3) uint8: all that training needs.

    Raises:
        DataError: the tar is missing, or the pixels at that place are not those that the index describes.
    """
    if is_rendered(row):
        return render_sample(folder, row, place)[:2]
    return read_image(folder, row, "clean", place), read_image(folder, row, "degraded", place)


def read_severity(folder: Path, row: Mapping[str, Any], place: Place = LOCAL) -> NDArray[np.uint8] | None:
    """The severity maps of ``row``, (n, H, W) uint8, one band per component; None for a sample that holds none.

    Raises:
        DataError: the tar is missing, or the bytes at that place are no such maps.
    """
    if is_rendered(row):
        return render_sample(folder, row, place)[2]
    if not row["severity_size"]:
        return None
    bands = read_image(folder, row, "severity", place).reshape(-1, row["height"], row["width"])
    maps: NDArray[np.uint8] = bands[: row["n_components"]]  # a sample without components has a band of zeros
    return maps


def read_labelled(
    folder: Path, row: Mapping[str, Any], place: Place = LOCAL
) -> tuple[ImageU8, ImageU8, NDArray[np.uint8] | None]:
    """What `read_pair` and `read_severity` give, in one go: what is rendered is rendered once."""
    if is_rendered(row):
        return render_sample(folder, row, place)
    return *read_pair(folder, row, place), read_severity(folder, row, place)


def read_sample(folder: Path, row: Mapping[str, Any], place: Place = LOCAL) -> Sample:
    """Everything that the shard holds of the sample that ``row`` of the index describes.

    Raises:
        DataError: the tar is missing, or the bytes at that place are no such sample.
    """
    clean, degraded, bands = read_labelled(folder, row, place)
    try:
        record = json.loads(read_part(folder, row, "record", place))
    except (ValueError, RecursionError):
        raise corrupt(folder, row, "record") from None
    if not isinstance(record, dict):
        raise corrupt(folder, row, "record")
    return Sample(clean, degraded, bands, record)
