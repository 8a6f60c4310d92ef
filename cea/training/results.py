"""What a training leaves beside its weights: curves, and its size, budget and speed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from cea.io.images import write_bytes
from cea.io.tables import write_table
from cea.training.callbacks import TIMINGS
from cea.training.fit import FitResult


def write_results(model: Path, metrics: Path, result: FitResult) -> None:
    """The curves beside the weights (``model``); for DVC's plots and metrics, small text files that git keeps."""
    rows = [  # no timings: the weights' folder holds nothing that depends on the machine's load
        (name, step, value) for name, curve in result.history.items() if name not in TIMINGS for step, value in curve
    ]
    curves = pl.DataFrame(rows, schema={"curve": pl.String, "step": pl.Int64, "value": pl.Float64}, orient="row")
    write_table(model / "history.parquet", curves)
    for name in ("train/loss", "val/gain_psnr"):
        wide = curves.filter(pl.col("curve") == name).select("step", pl.col("value").alias(name.split("/")[1]))
        write_bytes(metrics / f"{name.replace('/', '_')}.csv", wide.write_csv(float_precision=5).encode())
    write_bytes(metrics / "training.json", (json.dumps(speed(result), indent=2) + "\n").encode())


def speed(result: FitResult) -> dict[str, Any]:
    """Size, budget and speed of a training."""
    return {
        "parameters": result.parameters,
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "steps_per_s": round(result.steps / result.seconds, 2),
        "best_step": result.best_step,
        "best_val_gain_psnr": round(result.best_gain_psnr, 4),
        **({"samples_given_up": result.given_up} if result.given_up else {}),
    }
