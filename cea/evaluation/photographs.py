"""Real photographs without a clean original: restored, and scored without reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cea.errors import DataError, ImageError, InputError
from cea.evaluation.table import Restore
from cea.io.faults import shown
from cea.io.images import read_rgb
from cea.io.walk import find_pictures
from cea.levels import to_uint8
from cea.metrics.no_reference import NoReference, load_scores
from cea.progress import followed

_OF_INPUTS = frozenset({"input", "degraded", "lq", "rainy", "hazy", "noisy", "blur"})
"""Names of folders that say nothing of what is in them."""

PHOTOGRAPHS: dict[str, Any] = {
    "set": pl.String,
    "name": pl.String,
    "height": pl.Int32,
    "width": pl.Int32,
    "score": pl.String,
    "input": pl.Float64,
    "output": pl.Float64,
}
"""Columns: one row per image and score, before and after restoration."""


def judge_photographs(
    folders: Mapping[str, Path], restore: Restore, left_out: dict[Path, InputError] | None = None
) -> tuple[dict[str, Any], pl.DataFrame, dict[str, str]]:
    """Every folder of ``evaluate.photographs`` with the scores that can be had here.

    Args:
        folders: by name.
        restore: the method.
        left_out: is given what cannot be judged, and why; None makes this an error.

    Returns:
        name -> `summarise_photographs`; the table (`PHOTOGRAPHS`); scores left out and why, none without folders.
    """
    scores, missing = load_scores() if folders else ({}, {})
    tables = {name: score_folder(folder, restore, scores, left_out) for name, folder in folders.items()}
    table = pl.concat([pl.DataFrame(schema=PHOTOGRAPHS), *tables.values()])
    return {name: summarise_photographs(table) for name, table in tables.items()}, table, missing


def score_folder(
    folder: Path,
    restore: Restore,
    scores: Mapping[str, NoReference],
    left_out: dict[Path, InputError] | None = None,
) -> pl.DataFrame:
    """Restore and score every image in ``folder`` and below; ``left_out`` as in `judge_photographs`.

    A set is the folder an image lies in, seen from ``folder``; folders called ``degraded``, ``input`` and the like
    take the name above them.

    Raises:
        DataError: no such folder, no image in it; or one that cannot be read or scored (naming it), unless left out.
    """
    listing = find_pictures(folder)
    if not (listing.pictures or listing.left_out):
        raise DataError(f"{folder}: no image in it", expected="a folder of photographs", remedy="check the folder")
    for each in listing.left_out:
        error = DataError(
            f"{shown(each.path)}: {each.reason}",
            expected="photographs that can be read",
            remedy="replace or remove the file",
        )
        if left_out is None:
            raise error
        left_out[each.path] = error
    rows = []
    for path in followed(listing.pictures, folder.name, len(listing.pictures)):
        try:
            rows += _rows(path, folder, restore, scores)
        except DataError as error:
            if left_out is None:
                raise
            left_out[path] = error
    return pl.DataFrame(rows, schema=PHOTOGRAPHS)


def _rows(path: Path, folder: Path, restore: Restore, scores: Mapping[str, NoReference]) -> list[dict[str, Any]]:
    """The rows of one photograph.

    Raises:
        DataError: naming it.
    """
    try:
        image = to_uint8(read_rgb(path))
        output = restore(image)
    except ImageError as error:
        what = error.what.removeprefix(f"{path}: ")
        raise DataError(f"{path}: {what}", expected=error.expected, remedy=error.remedy) from error
    head = {"set": _set(path, folder), "name": path.stem, "height": image.shape[0], "width": image.shape[1]}
    rows = []
    for name, score in scores.items():
        with np.errstate(all="ignore"):  # thin pictures divide by zero, which is named below
            row = {**head, "score": name, "input": score(image), "output": score(output)}
        if not (math.isfinite(row["input"]) and math.isfinite(row["output"])):
            raise DataError(
                f"{path}: its {name} is not a number",
                expected="more than two pixels a side",
                remedy="take it out of the folder",
            )
        rows.append(row)
    return rows


def summarise_photographs(table: pl.DataFrame) -> dict[str, Any]:
    """``<score>``: ``images``, ``input``, ``output`` (means) and the same by ``sets.<set>``."""
    summary: dict[str, Any] = {}
    for (score,), group in table.partition_by("score", as_dict=True, maintain_order=True).items():
        sets = group.partition_by("set", as_dict=True, maintain_order=True)
        summary[str(score)] = _means(group) | {"sets": {str(key[0]): _means(rows) for key, rows in sets.items()}}
    return summary


def _set(path: Path, folder: Path) -> str:
    parts = [part for part in path.parent.relative_to(folder).parts if part not in _OF_INPUTS]
    return "/".join(parts) or folder.resolve().name


def _means(group: pl.DataFrame) -> dict[str, Any]:
    values = {name: round(float(group[name].to_numpy().mean()), 4) for name in ("input", "output")}
    return {"images": len(group), **values}
