"""train: fit the restorer and keep its lineage."""

from __future__ import annotations

import os

# Before PyTorch starts its threads: idle ones must sleep, or a small shared machine slows down up to tenfold.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Before PyTorch is loaded, too: its profiler does not report that it starts and stops.
os.environ.setdefault("KINETO_LOG_LEVEL", "9")

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import polars as pl

from cea.config import load, read_params
from cea.io.images import write_bytes
from cea.io.tables import write_table
from cea.lineage.facts import as_tags, dependency_digests, lineage, uncommitted_changes
from cea.lineage.tracking import WEIGHTS_TAG, LiveCurves, Tracker, TrackingConfig, file_sha256
from cea.models.config import ModelSection
from cea.models.measure.cost import figures
from cea.models.measure.matching import resolve
from cea.models.measure.overhead import passes
from cea.training.callbacks import TIMINGS
from cea.training.config import TrainConfig
from cea.training.fit import FitResult, Job, fit, uses_gpu
from pipeline import stage

COMPARISON, COMPARISON_TAG = "CEA_COMPARISON", "comparison"
"""The environment variable that names the comparison a run belongs to, and the tag it becomes in MLflow."""


def main(paths: Namespace) -> None:
    """Train on the shards of all recipes inside one MLflow run."""
    params = read_params()
    config, model = load(TrainConfig, params, "train"), resolve(load(ModelSection, params, "model"))
    train, val = (tuple(parent / recipe for recipe in paths.recipes) for parent in (paths.train, paths.val))
    seed = params["seed"] if config.seed is None else config.seed
    job = Job(train, val, output=paths.model, state=paths.state, seed=seed)
    tracker = Tracker(load(TrackingConfig, params, "tracking"))
    digests = dependency_digests("train")
    name = os.environ.get("DVC_EXP_NAME") or f"{model.adapter}-rank{model.rank}-{config.max_steps}steps"
    facts = lineage(params["seed"])
    tags = as_tags(facts) | {f"dvc.dep.{path}": digest for path, digest in digests.items()}
    if os.environ.get(COMPARISON):
        tags[COMPARISON_TAG] = os.environ[COMPARISON]
    with tracker.training_run(name, params, tags) as run_id:
        tracker.log_datasets({path: digest for path, digest in digests.items() if path.startswith("data")}, "training")
        # In front of the training: should the memory not be there, nothing is lost.
        cost = figures(model) | passes(model, config.cost_images, "cuda" if uses_gpu(config) else "cpu")
        live = LiveCurves(tracker, run_id)
        result = fit(job, config, model, report=live)
        live.complete(result.history)
        tracker.set_tags(run_id, {WEIGHTS_TAG: file_sha256(result.weights)})
        tracker.log_files(run_id, {result.weights: "model", Path("params.yaml"): "", Path("dvc.lock"): ""})
        tracker.log_text(run_id, uncommitted_changes(), "uncommitted.diff")
        write_results(paths, result, facts, cost)
        tracker.log_summary(run_id, {"training": speed(result), "cost": cost})


def write_results(paths: Namespace, result: FitResult, facts: dict[str, Any], cost: dict[str, float]) -> None:
    """The curves beside the weights; for DVC's plots and metrics, small text files that git keeps."""
    rows = [  # no timings: the weights' folder holds nothing that depends on the machine's load
        (name, step, value) for name, curve in result.history.items() if name not in TIMINGS for step, value in curve
    ]
    curves = pl.DataFrame(rows, schema={"curve": pl.String, "step": pl.Int64, "value": pl.Float64}, orient="row")
    write_table(paths.model / "history.parquet", curves)
    for name in ("train/loss", "val/gain_psnr"):
        wide = curves.filter(pl.col("curve") == name).select("step", pl.col("value").alias(name.split("/")[1]))
        write_bytes(paths.metrics / f"{name.replace('/', '_')}.csv", wide.write_csv(float_precision=5).encode())
    measured = speed(result) | {"cost": {name: round(value, 4) for name, value in cost.items()}}
    for name, values in (("training", measured), ("lineage", facts)):
        write_bytes(paths.metrics / f"{name}.json", (json.dumps(values, indent=2) + "\n").encode())


def speed(result: FitResult) -> dict[str, Any]:
    """Size, budget and speed of a training."""
    return {
        "parameters": result.parameters,
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "steps_per_s": round(result.steps / result.seconds, 2),
        "best_step": result.best_step,
        "best_val_gain_psnr": round(result.best_gain_psnr, 4),
    }


if __name__ == "__main__":
    stage.run(main, "train", "val", "model", "state", "metrics", names=("recipes",))
