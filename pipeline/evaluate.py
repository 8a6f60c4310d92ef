"""evaluate: restore the held-out photographs, judge them, keep tables and pictures."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch starts its threads

import logging
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

from cea.config import load, read_params
from cea.data.tables import write_table
from cea.evaluation.benchmarks import judge_benchmarks
from cea.evaluation.cases import Case, shard_cases
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.examples import write_pictures
from cea.evaluation.folder import Method
from cea.evaluation.routing import measure_routing, summarise_routing
from cea.evaluation.summary import gain_table, summarise, to_json
from cea.evaluation.table import evaluate
from cea.imageio import write_bytes
from cea.inference import restore, tile_for
from cea.models.checkpoint import load_weights
from cea.models.diagnostics import adapter_statistics, affinity_maps
from cea.models.network import Restorer, build
from cea.training.lineage import as_tags, lineage
from cea.training.tracking import Tracker, TrackingConfig, file_sha256
from pipeline import stage


def main(paths: Namespace) -> None:
    """Judge the best weights on the test shards of all recipes, those never trained on included."""
    params = read_params()
    config = load(EvaluationConfig, params, "evaluate")
    weights = paths.model / "best.safetensors"
    model, _ = load_weights(weights)
    trained, unseen = (
        shard_cases([paths.test / recipe for recipe in recipes], seen=seen)
        for recipes, seen in ((paths.recipes, True), (paths.unseen, False))
    )
    cases = trained + unseen
    tables = evaluate(cases, partial(restore, model), config)
    adapters = adapter_statistics(model, [case.read().degraded for case in one_per_recipe(trained)])
    maps = partial(affinity_maps, model) if adapters else None
    routing = routing_figures(trained, model, config, params["seed"]) if adapters else None
    method = Method(file_sha256(weights), lambda image: restore(model, image, tile=tile_for(image)))
    benchmarks, pairs = judge_benchmarks(method, config, paths.state, logging.info)
    summary = summarise(tables.images, adapters, tables.bins, routing=routing) | {"benchmarks": benchmarks}
    write_pictures(paths.metrics / "pictures", cases, tables.images, config.examples, partial(restore, model), maps)
    write_table(paths.metrics / "images.parquet", tables.images)
    write_table(paths.metrics / "bins.parquet", tables.bins)
    write_table(paths.metrics / "benchmarks.parquet", pairs)
    write_bytes(paths.metrics / "gains.csv", gain_table(tables.images).write_csv().encode())
    write_bytes(paths.metrics / "summary.json", to_json(summary))
    logging.info("%d images: %.2f dB -> %.2f dB", *(summary[key] for key in ("images", "input_psnr", "output_psnr")))
    for name, group in summary["compositions"].items():
        logging.info("  %s: %+.2f dB on %d images", name.replace("_", ", "), group["gain_psnr"], group["images"])
    tracker = Tracker(load(TrackingConfig, params, "tracking"))
    run_id = tracker.run_of(weights, as_tags(lineage(params["seed"])))
    tracker.log_summary(run_id, summary)
    names = {
        "pictures": "pictures",
        "images.parquet": "",
        "benchmarks.parquet": "",
        "summary.json": "",
        "gains.csv": "",
    }
    tracker.log_files(run_id, {Path(paths.metrics / name): folder for name, folder in names.items()})


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
