"""Every test image as a dot: the spread that a mean hides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from cea.evaluation.judge import HARM_DB
from cea.report.charts import Tick, scale

_MOST_DOTS = 300
"""Per recipe; beyond, every n-th image by gain is drawn."""


@dataclass(frozen=True)
class Dot:
    """One image: its place on the axis of gains in percent, and what a pointer over it says."""

    x: float
    uniform: bool | None
    harmed: bool
    label: str


@dataclass(frozen=True)
class GainRows:
    """The chart: dots by recipe, grid lines in dB, and where zero is; all places in percent of the axis."""

    rows: dict[str, list[Dot]]
    ticks: list[Tick]
    zero: float


def gain_rows(images: pl.DataFrame | None) -> GainRows | None:
    """The chart of gains by recipe, from the per-image table; None where there is none."""
    if images is None or images.is_empty():
        return None
    axis = scale([0.0, *images["gain_psnr"].to_list()], 0, 100)
    parts = images.partition_by("recipe", as_dict=True, maintain_order=True)
    rows = {str(key[0]): [_dot(row, axis(row["gain_psnr"])) for row in _thin(group)] for key, group in parts.items()}
    return GainRows(rows, axis.ticks, axis(0.0))


@dataclass(frozen=True)
class Scenes:
    """The photographs that the test images are made of: name -> mean gain in dB, largest first."""

    gains: dict[str, float]
    sd: float
    """Standard deviation of the gain over all images, in dB."""


def scenes(images: pl.DataFrame | None) -> Scenes | None:
    """What the per-image table says of photographs; None where there is none, or a single image."""
    if images is None or "clean_id" not in images.columns or len(images) < 2:
        return None
    means = images.group_by("clean_id").agg(pl.col("gain_psnr").mean()).sort("gain_psnr", "clean_id", descending=True)
    return Scenes(dict(means.iter_rows()), float(images["gain_psnr"].std() or 0.0))  # type: ignore[arg-type]


def _thin(images: pl.DataFrame) -> list[dict[str, Any]]:
    ordered = images.sort("gain_psnr", "sample_id")
    return list(ordered.gather_every(-(-len(ordered) // _MOST_DOTS)).iter_rows(named=True))


def _dot(row: dict[str, Any], x: float) -> Dot:
    label = f"{row['sample_id']}: {row['input_psnr']:.2f} → {row['output_psnr']:.2f} dB"
    return Dot(x, row["uniform"], row["gain_psnr"] < -HARM_DB, label)
