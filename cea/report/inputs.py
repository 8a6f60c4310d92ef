"""The files a report is made from; all but the summary may be missing."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cea.errors import DataError, foreign
from cea.evaluation.columns import IMAGES
from cea.evaluation.pictures import Picture, read_pictures
from cea.evaluation.schema import checked
from cea.io.documents import read_json
from cea.io.images import read_rgb
from cea.io.tables import read_table
from cea.report.charts import Curve
from cea.types import ImageU8

_AGAIN = "run evaluate again"
_LARGEST_STACKS = 1 << 28
_NEEDED = {name: IMAGES[name] for name in ("sample_id", "recipe", "gain_psnr")}
"""Columns of the per-image table that the page shows; other versions of the program had fewer or more."""


@dataclass(frozen=True)
class ReportFiles:
    """Where things lie.

    Attributes:
        summary: ``summary.json`` of an evaluation.
        images: its per-image table (Parquet).
        pictures: its folder of pictures.
        history: training curves, a Parquet table with the columns ``curve``, ``step``, ``value``.
        training: size, budget and speed of the training, a flat JSON object.
        cost: what the network costs, a flat JSON object.
        others: name -> ``summary.json`` of further runs to stand beside this one.
        repeats: which of them differ from this run in nothing but the seed: they show the spread of chance.
        about: what ``this run`` and the others were trained with, a few words by name.
    """

    summary: Path
    images: Path | None = None
    pictures: Path | None = None
    history: Path | None = None
    training: Path | None = None
    cost: Path | None = None
    others: Mapping[str, Path] = field(default_factory=dict)
    repeats: frozenset[str] = frozenset()
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Strip:
    """A picture's pixels: uint8 (H, W, 3) each, severity bands (H, W), affinity maps site -> (r, h, w)."""

    picture: Picture
    input: ImageU8
    restored: ImageU8
    clean: ImageU8
    severity: list[NDArray[np.uint8]]
    affinity: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Content:
    """What was found in the files."""

    summary: dict[str, Any]
    images: pl.DataFrame | None = None
    strips: list[Strip] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    repeats: frozenset[str] = frozenset()
    about: Mapping[str, str] = field(default_factory=dict)


def read_content(files: ReportFiles) -> Content:
    """Read everything; absent optional files give empty parts.

    Raises:
        DataError: no summary, or a file that is not what it should be.
    """
    return Content(
        summary=checked(_read_json(files.summary), str(files.summary)),
        images=read_table(files.images, _NEEDED, remedy=_AGAIN) if files.images and files.images.is_file() else None,
        strips=read_strips(files.pictures) if files.pictures else [],
        curves=_read_curves(files.history) if files.history and files.history.is_file() else {},
        training=_read_json(files.training) if files.training and files.training.is_file() else {},
        cost=_read_json(files.cost) if files.cost and files.cost.is_file() else {},
        others={name: _read_json(path) for name, path in files.others.items()},
        repeats=files.repeats,
        about=files.about,
    )


def read_strips(folder: Path) -> list[Strip]:
    """All pictures of a folder that `cea.evaluation.examples.write_pictures` wrote.

    Raises:
        DataError: a file named by the index is missing.
    """
    return [_read_strip(folder / picture.sample_id, picture) for picture in read_pictures(folder)]


def _read_strip(folder: Path, picture: Picture) -> Strip:
    images = {name: read_rgb(folder / f"{name}.png") for name in ("input", "restored", "clean")}
    severity: list[NDArray[np.uint8]] = []
    if (folder / "severity.png").is_file():
        severity = list(np.split(read_rgb(folder / "severity.png")[..., 0], len(picture.components)))
    affinity: dict[str, NDArray[Any]] = {}
    if picture.affinity:
        affinity = _read_stacks(folder / "affinity.npz")
    return Strip(picture, severity=severity, affinity=affinity, **images)


def _read_stacks(path: Path) -> dict[str, NDArray[Any]]:
    with foreign(path, expected="affinity maps that evaluate wrote", remedy=_AGAIN):
        with zipfile.ZipFile(path) as packed:  # what it unpacks to, before it is unpacked
            size = sum(member.file_size for member in packed.infolist())
        if size > _LARGEST_STACKS:
            raise ValueError(f"{size} bytes when unpacked, and at most {_LARGEST_STACKS} are read")
        with np.load(path, allow_pickle=False) as stacks:
            return dict(stacks)


def _read_curves(path: Path) -> dict[str, Curve]:
    table = read_table(path, {"curve": pl.String, "step": pl.Int64, "value": pl.Float64}, remedy="train again")
    parts = table.partition_by("curve", as_dict=True, maintain_order=True)
    return {str(key[0]): list(curve.select("step", "value").iter_rows()) for key, curve in parts.items()}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise DataError(f"{path}: no such file", expected="what evaluate writes", remedy="run evaluate first")
    return read_json(path, expected="the JSON that evaluate writes", remedy=_AGAIN)
