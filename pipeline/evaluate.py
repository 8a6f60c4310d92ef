"""evaluate: restore the held-out photographs, judge them, keep tables and pictures."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch starts its threads

import logging
from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cea.config import load, read_params
from cea.evaluation.cases import Case, clean_cases, shard_cases
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.examples import write_pictures
from cea.evaluation.folder import Method
from cea.evaluation.photographs import judge_photographs
from cea.evaluation.routing import measure_routing, summarise_routing
from cea.evaluation.summary import gain_table, severity_table, summarise, to_json
from cea.evaluation.table import evaluate
from cea.evaluation.testsets import judge_benchmarks
from cea.inference import restore, tile_for
from cea.io.images import write_bytes
from cea.io.tables import write_table
from cea.lineage.facts import as_tags, lineage
from cea.lineage.tracking import Tracker, TrackingConfig, file_sha256
from cea.models.checkpoint import load_weights
from cea.models.diagnostics import adapter_statistics, affinity_maps
from cea.models.network import Restorer, build
from cea.types import ImageF, ImageU8
from pipeline import stage

ARTIFACTS = (
    "pictures",
    "images.parquet",
    "benchmarks.parquet",
    "photographs.parquet",
    "summary.json",
    "gains.csv",
    "severity.csv",
)


def main(paths: Namespace) -> None:
    """Judge the best weights on the test shards of all recipes, those never trained on included, and on benchmarks."""
    params = read_params()
    config = load(EvaluationConfig, params, "evaluate")
    weights = paths.model / "best.safetensors"
    model, _ = load_weights(weights)
    whole = partial(restore, model)

    def tiled(image: ImageU8) -> ImageF:
        return restore(model, image, tile=tile_for(image))

    trained, unseen = (
        shard_cases([paths.test / recipe for recipe in recipes], seen=seen)
        for recipes, seen in ((paths.recipes, True), (paths.unseen, False))
    )
    tables = evaluate(trained + unseen, whole, config)
    untouched = evaluate(clean_cases(trained), whole, config).images
    adapters = adapter_statistics(model, [case.read().degraded for case in one_per_recipe(trained)])
    routing = routing_figures(trained, model, config, params["seed"]) if adapters else None
    summary = summarise(tables.images, adapters, tables.bins, untouched, routing)
    benchmarks, pairs = judge_benchmarks(Method(file_sha256(weights), tiled), config, paths.state, logging.info)
    photographs, scored, missing = judge_photographs({n: Path(p) for n, p in config.photographs.items()}, tiled)
    summary |= {"benchmarks": benchmarks, "photographs": photographs, "skipped": tables.skipped | missing}
    maps = partial(affinity_maps, model) if adapters else None
    write_pictures(paths.metrics / "pictures", trained + unseen, tables.images, config.examples, whole, maps)
    write_table(paths.metrics / "images.parquet", tables.images)
    for name, table in (("bins", tables.bins), ("benchmarks", pairs), ("photographs", scored)):
        write_table(paths.metrics / f"{name}.parquet", table)
    write_bytes(paths.metrics / "gains.csv", gain_table(tables.images).write_csv().encode())
    write_bytes(paths.metrics / "severity.csv", severity_table(summary).write_csv(float_precision=4).encode())
    write_bytes(paths.metrics / "summary.json", to_json(summary))
    tell(summary)
    tracker = Tracker(load(TrackingConfig, params, "tracking"))
    run_id = tracker.run_of(weights, as_tags(lineage(params["seed"])))
    tracker.log_summary(run_id, summary)
    tracker.log_files(run_id, {Path(paths.metrics / name): "pictures" * (name == "pictures") for name in ARTIFACTS})


def tell(summary: Mapping[str, Any]) -> None:
    """The result in a few lines."""
    logging.info("%d images: %.2f dB -> %.2f dB", *(summary[key] for key in ("images", "input_psnr", "output_psnr")))
    for name, group in summary["compositions"].items():
        logging.info("  %s: %+.2f dB on %d images", name.replace("_", ", "), group["gain_psnr"], group["images"])
    for name, reason in summary["skipped"].items():
        logging.info("%s left out: %s", name, reason)


def routing_figures(cases: list[Case], model: Restorer, config: EvaluationConfig, seed: int) -> dict[str, Any]:
    """How the routing follows the severity, beside the same before training."""
    networks = model, build(model.config, seed).eval()
    found = [measure_routing(cases, partial(affinity_maps, network), config.routing) for network in networks]
    return summarise_routing(*found)


def one_per_recipe(cases: list[Case]) -> list[Case]:
    """The first case of each recipe."""
    return list({case.recipe: case for case in reversed(cases)}.values())


if __name__ == "__main__":
    stage.run(main, "model", "test", "metrics", "state", names=("recipes",), optional=("unseen",))
