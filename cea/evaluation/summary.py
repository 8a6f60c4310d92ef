"""From the per-image table to `metrics/summary.json`: means over images, never pooled errors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from cea.decibels import psnr_of
from cea.errors import DataError
from cea.evaluation.columns import MEANS, OPTIONAL_MEANS
from cea.evaluation.judge import HARM_DB, PSNR_CAP
from cea.evaluation.schema import VERSION

_GAINS = ("input_psnr", "output_psnr", "gain_psnr", "input_ssim", "output_ssim", "gain_ssim")
"""Columns of the bars that ``dvc plots`` draws."""

_LEAST_PIXELS = 256
"""An image enters a severity bin's mean only with this many pixels there; fewer give a PSNR of noise."""


def summarise(
    images: pl.DataFrame,
    adapters: Mapping[str, Mapping[str, float]] | None = None,
    bins: pl.DataFrame | None = None,
    identity: pl.DataFrame | None = None,
    routing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything the per-image table says, as nested plain numbers, all finite.

    Top level: ``protocol``, ``images``, the six means ``{input,output,gain}_{psnr,ssim}``, ``harm_rate`` (share of
    images whose PSNR fell by more than .01 dB), ``harmed_pixels`` (mean share of pixels that got worse by over one grey
    level) and ``identical`` (outputs equal to their target, which enter means as `PSNR_CAP` dB). The same under
    ``recipes.<recipe>``, ``n_components.<n>``, ``spatial.uniform`` and ``spatial.nonuniform``. Then
    ``spatial.gap_db`` (see `spatial_gap`), ``severity.<low-high>``, ``identity`` (what is left of clean images that go
    through the restorer), ``check`` (largest difference to scikit-image), ``adapters.<site>`` and
    ``routing.<site>.<component>``.

    Images of recipes that were never trained on (column ``seen``) stand under their own ``recipes.<recipe>`` (whose
    ``seen`` is false), under ``compositions`` and in ``check``, and enter no other number: adding such a recipe changes
    no headline. ``compositions`` sets ``unseen`` against ``seen`` (all recipes trained on) and ``seen_composed`` (those
    of two or more degradations).

    Args:
        images: table with the columns `cea.evaluation.columns.IMAGES`.
        adapters: site -> ``effective_rank_a``, ``effective_rank_d``, ``rank`` and further numbers.
        bins: table with the columns `cea.evaluation.columns.BINS`.
        identity: per-image table of `cea.evaluation.cases.clean_cases`, whose inputs are not degraded.
        routing: `cea.evaluation.routing.summarise_routing`.

    Raises:
        DataError: no rows, several protocols in one table, or a number that is not finite.
    """
    protocols = images["protocol"].unique().to_list()
    if len(protocols) != 1:
        raise DataError(
            f"a table with the protocols {sorted(protocols) or 'of no image'}",
            expected="images judged under one protocol",
            remedy="summarise each protocol by itself",
        )
    main = trained_on(images)
    apart = images.join(main, on="sample_id", how="anti")
    summary = {
        "schema_version": VERSION,
        "protocol": protocols[0],
        **_group(main),
        "recipes": {name: {**group, **_seen(images, name)} for name, group in _groups(images, "recipe").items()},
        "compositions": _compositions(images),
        "n_components": _groups(main, "n_components"),
        "spatial": _spatial(main),
        "severity": {} if bins is None else _severity(bins.join(apart, on="sample_id", how="anti")),
        "identity": {} if identity is None else _identity(identity),
        "check": _check(images),
        "adapters": {
            site: {key: round(value, 4) for key, value in facts.items()} for site, facts in (adapters or {}).items()
        },
        "routing": dict(routing or {}),
    }
    _assert_finite(summary, "summary")
    return summary


def to_json(summary: Mapping[str, Any]) -> bytes:
    """``summary`` as indented JSON; NaN and infinity, which JSON cannot express, are refused."""
    return (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode()


def trained_on(images: pl.DataFrame) -> pl.DataFrame:
    """The images of recipes that are not known to be unseen; all images where no other is left."""
    rest = images.filter(pl.col("seen").fill_null(True))
    return images if rest.is_empty() else rest


def gain_table(images: pl.DataFrame) -> pl.DataFrame:
    """One row per recipe with its means, in the order of the table: what ``dvc plots`` draws as bars."""
    means = [pl.col(name).mean().round(places) for name, places in MEANS.items() if name in _GAINS]
    facts = (pl.len().alias("images"), pl.col("seen").first())
    return images.group_by("recipe", maintain_order=True).agg(*facts, *means)


def severity_table(summary: Mapping[str, Any]) -> pl.DataFrame:
    """The bins of local severity, a row each at its middle: the curves that ``dvc plots`` draws."""
    columns = ("input_psnr", "output_psnr", "gain_psnr", "images")
    rows = [((bin["low"] + bin["high"]) / 2, *(bin[name] for name in columns)) for bin in summary["severity"].values()]
    return pl.DataFrame(rows, schema=["severity", *columns], orient="row")


def spatial_gap(images: pl.DataFrame) -> float | None:
    """How much more (positive) is gained on non-uniform images than on uniform ones of equal input PSNR, in dB.

    Least squares over images: gain = recipe + slope * input PSNR + gap * [non-uniform]. None where the table cannot
    tell the two apart.
    """
    known = images.drop_nulls("uniform").with_columns(pl.col("uniform").not_().cast(pl.Float64).alias("uneven"))
    if known.is_empty():
        return None
    recipes = known["recipe"]
    columns = [(recipes == name).cast(pl.Float64).to_numpy() for name in recipes.unique(maintain_order=True)]
    design = np.column_stack([known["uneven"].to_numpy(), known["input_psnr"].to_numpy(), *columns])
    solution, _, rank, _ = np.linalg.lstsq(design, known["gain_psnr"].to_numpy(), rcond=None)
    return float(solution[0]) if rank == design.shape[1] <= len(known) - 1 else None


def _group(images: pl.DataFrame) -> dict[str, Any]:
    means = {name: round(_mean(images[name]), places) for name, places in MEANS.items()}
    for name, places in OPTIONAL_MEANS.items():
        known = images[name].drop_nulls()
        means |= {name: round(_mean(known), places)} if len(known) else {}
    return {
        "images": len(images),
        **means,
        "harm_rate": round(_mean((images["gain_psnr"] < -HARM_DB).cast(pl.Float64)), 4),
        "identical": int((images["output_psnr"] >= PSNR_CAP).sum()),
    }


def _groups(images: pl.DataFrame, column: str) -> dict[str, Any]:
    parts = images.partition_by(column, as_dict=True, maintain_order=True)
    ordered = sorted(parts) if column == "n_components" else list(parts)
    return {str(key[0]): _group(parts[key]) for key in ordered}


def _seen(images: pl.DataFrame, recipe: str) -> dict[str, bool]:
    """Whether ``recipe`` was trained on; empty where that is unknown."""
    known = images.filter(pl.col("recipe") == recipe)["seen"][0]
    return {} if known is None else {"seen": known}


def _compositions(images: pl.DataFrame) -> dict[str, Any]:
    """Trained recipes against unseen ones; ``seen_composed`` are the trained ones of two or more degradations."""
    seen = pl.col("seen")
    parts = {"seen": seen, "seen_composed": seen & (pl.col("n_components") > 1), "unseen": ~seen}
    groups = {name: images.filter(wanted) for name, wanted in parts.items()}
    return {name: _group(subset) for name, subset in groups.items() if len(subset)}


def _spatial(images: pl.DataFrame) -> dict[str, Any]:
    names = {"uniform": True, "nonuniform": False}
    groups: dict[str, Any] = {}
    for name, value in names.items():
        subset = images.filter(pl.col("uniform") == value)
        if len(subset):
            groups[name] = _group(subset)
    gap = spatial_gap(images)
    return groups | ({} if gap is None else {"gap_db": round(gap, 4)})


def _severity(bins: pl.DataFrame) -> dict[str, Any]:
    """Means over images of the PSNR within each bin of local severity."""
    summary = {}
    for (low, high), subset in sorted(bins.partition_by("low", "high", as_dict=True).items()):
        enough = subset.filter(pl.col("pixels") >= _LEAST_PIXELS)
        if len(enough):
            before, after = (
                [min(psnr_of(mse), PSNR_CAP) for mse in enough[f"{name}_mse"]] for name in ("input", "output")
            )
            summary[f"{low:g}-{high:g}".replace(".", "_")] = {
                "low": low,
                "high": high,
                "images": len(enough),
                "input_psnr": round(float(np.mean(before)), 4),
                "output_psnr": round(float(np.mean(after)), 4),
                "gain_psnr": round(float(np.mean(after) - np.mean(before)), 4),
            }
    return summary


def _identity(images: pl.DataFrame) -> dict[str, Any]:
    return {
        "images": len(images),
        "output_psnr": round(_mean(images["output_psnr"]), 4),
        "lowest_psnr": round(float(images["output_psnr"].to_numpy().min()), 4),
        "output_ssim": round(_mean(images["output_ssim"]), 5),
        "harm_rate": round(_mean((images["gain_psnr"] < -HARM_DB).cast(pl.Float64)), 4),
        "harmed_pixels": round(_mean(images["harmed_pixels"]), 4),
    }


def _check(images: pl.DataFrame) -> dict[str, Any]:
    checked = images.drop_nulls("check_psnr")
    if checked.is_empty():
        return {}
    # The last bits of a sum depend on the machine: what is below 1e-9 is written as 0.
    largest = {name: round(_largest(checked[f"check_{name}"]), 9) for name in ("psnr", "ssim")}
    return {"images": len(checked), "psnr_difference": largest["psnr"], "ssim_difference": largest["ssim"]}


def _mean(values: pl.Series) -> float:
    return float(values.to_numpy().mean())


def _largest(values: pl.Series) -> float:
    return float(values.to_numpy().max())


def _assert_finite(value: Any, name: str) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _assert_finite(inner, f"{name}.{key}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise DataError(
            f"{name} = {value}",
            expected="a finite number",
            remedy="look for NaN in images.parquet: the image or network it is from",
        )
