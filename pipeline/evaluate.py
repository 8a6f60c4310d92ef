"""evaluate: restore the held-out photographs, judge them, keep tables and pictures."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch starts its threads
os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # before PyTorch is loaded: its profiler does not say what it does

import logging
from argparse import Namespace

from cea.config import load, read_params
from cea.data.dataset import check_split, read_split
from cea.evaluation.cases import shard_cases
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.run import ARTIFACTS, Subject, evaluate_run, headline
from cea.evaluation.summary import to_json
from cea.io.images import file_sha256, write_bytes
from cea.lineage.facts import as_tags, lineage
from cea.lineage.tracking import Tracker, TrackingConfig
from cea.models.checkpoint import load_weights
from cea.models.measure.config import CostConfig
from cea.models.measure.overhead import measure_config
from pipeline import stage


def main(paths: Namespace) -> None:
    """Judge the best weights on the test shards of all recipes, those never trained on included, and on real sets."""
    params = read_params()
    weights = paths.model / "best.safetensors"
    subject = Subject(weights, file_sha256(weights), params["seed"])
    split = read_split(paths.dataset / "test.json")
    check_split(paths.shards / "test", split)
    trained, unseen = (
        shard_cases(split.folders(paths.shards / "test", seen=seen), seen=seen) for seen in (True, False)
    )
    config = load(EvaluationConfig, params, "evaluate")
    summary = evaluate_run(subject, trained, unseen, config, (paths.metrics, paths.state), logging.info)
    for line in headline(summary):
        logging.info("%s", line)
    wanted = load(CostConfig, params, "cost")
    if wanted.images:
        sizes = ", ".join("{}x{}".format(*size) for size in wanted.images)
        logging.info("time and memory of images of %s px (section cost) ...", sizes)
    cost = measure_config(load_weights(weights, trust_code=True)[0].config, wanted)
    write_bytes(paths.metrics / "cost.json", to_json({name: round(value, 4) for name, value in cost.items()}))
    tracker = Tracker(load(TrackingConfig, params, "tracking"))
    run_id = tracker.run_of(weights, as_tags(lineage(params["seed"])))
    tracker.log_summary(run_id, summary | {"cost": cost})
    tracker.log_files(run_id, {paths.metrics / name: "pictures" * (name == "pictures") for name in ARTIFACTS})
    tracker.log_time(run_id)


if __name__ == "__main__":
    stage.run(main, "model", "dataset", "shards", "metrics", "state", check=True)
