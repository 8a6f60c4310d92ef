"""What a judged image is: each of its fields once, with its type, its meaning, and how it is averaged.

The per-image tables, the summary's means and its schema derive from this list. A new score is one entry here
(``optional=True``, since summaries of before lack it), its value in `cea.evaluation.judge`, and a place where it is
shown (a macro of ``cea/report/page.html``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl


@dataclass(frozen=True)
class Column:
    """One field of a judged image.

    Attributes:
        name: of the column.
        type: as Polars has it.
        meaning: with its unit.
        decimals: of its mean over images, which every group of the summary holds; None where no mean is reported.
        optional: whether it may be null (a score that cannot be had here): its mean is over the images that have it.
    """

    name: str
    type: Any
    meaning: str
    decimals: int | None = None
    optional: bool = False


COLUMNS = (
    Column("protocol", pl.String, "how it was judged (cea.metrics.protocol)"),
    Column("sample_id", pl.String, "unique within an evaluation"),
    Column("recipe", pl.String, "recipe, or set of test images"),
    Column("clean_id", pl.String, "the scene"),
    Column("n_components", pl.Int32, "how many degradations compose it"),
    Column("components", pl.List(pl.String), "which, in their order"),
    Column("uniform", pl.Boolean, "whether every strength is even over the image; null where unknown"),
    Column("seen", pl.Boolean, "whether the recipe was trained on; null where unknown"),
    Column("height", pl.Int32, "px"),
    Column("width", pl.Int32, "px"),
    Column("input_psnr", pl.Float64, "of the degraded image, dB", decimals=4),
    Column("output_psnr", pl.Float64, "of the restored image, dB", decimals=4),
    Column("gain_psnr", pl.Float64, "output less input, dB", decimals=4),
    Column("input_ssim", pl.Float64, "of the degraded image", decimals=5),
    Column("output_ssim", pl.Float64, "of the restored image", decimals=5),
    Column("gain_ssim", pl.Float64, "output less input", decimals=5),
    Column("severity", pl.List(pl.Float64), "mean per component, in their order, 0 to 1"),
    Column("harmed_pixels", pl.Float64, "share of pixels that got worse by over one grey level", decimals=4),
    Column("check_psnr", pl.Float64, "largest difference to scikit-image, dB; null where not checked"),
    Column("check_ssim", pl.Float64, "largest difference to scikit-image; null where not checked"),
    Column("input_lpips", pl.Float64, "of the degraded image", decimals=5, optional=True),
    Column("output_lpips", pl.Float64, "of the restored image", decimals=5, optional=True),
)

IMAGES: dict[str, Any] = {column.name: column.type for column in COLUMNS}
"""Columns of the per-image table, as Polars wants them."""


def means(columns: Iterable[Column], *, optional: bool = False) -> dict[str, int]:
    """Name -> decimals of the columns whose mean is reported: of those that may be null, or of the others."""
    return {one.name: one.decimals for one in columns if one.decimals is not None and one.optional == optional}


MEANS = means(COLUMNS)
"""Columns whose mean every group of the summary holds."""

OPTIONAL_MEANS = means(COLUMNS, optional=True)
"""The same of those that may be null: the mean is over the images that have them."""

BINS: dict[str, Any] = {
    "sample_id": pl.String,
    "recipe": pl.String,
    "low": pl.Float64,
    "high": pl.Float64,
    "pixels": pl.Int64,
    "input_mse": pl.Float64,
    "output_mse": pl.Float64,
}
"""Columns of the table of severity bins: mean squared error (full scale 1) over an image's pixels in [low, high)."""
