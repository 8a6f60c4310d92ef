"""train: fit the restorer and keep its lineage."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch starts its threads: idle ones must sleep

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cea.config import load, read_params
from cea.data.dataset import check_split, read_split
from cea.data.remote import Remote, shards_at
from cea.lineage.training import tracked
from cea.models.config import ModelConfig, ModelSection
from cea.models.measure.allocator import keep_freed_memory
from cea.models.measure.matching import resolve
from cea.training.config import TrainConfig
from cea.training.fit import TrainingJob, fit, init_sha256
from cea.training.lock import exclusive
from cea.training.processes import LOST, PeerError, Processes, launch, speaks
from cea.training.results import speed, write_results
from cea.training.state import forget
from pipeline import stage

STATE = "CEA_TRAIN_STATE"
"""Environment variable: a folder for what a killed training resumes from, where the working tree does not last."""


def main(paths: Namespace) -> None:
    """Train on the shards of the recipes that are for training, inside one MLflow run.

    Of several processes the first holds the lock and the run; without a launcher, this one starts the others and waits.
    """
    keep_freed_memory()
    params = read_params()
    config, model = load(TrainConfig, params, "train"), resolve(load(ModelSection, params, "model"))
    splits = {split: read_split(paths.dataset / f"{split}.json") for split in ("train", "val")}
    parent, place = shards_at(paths.shards, config.shards, config.remote, splits)
    for split, listed in splits.items():
        check_split(parent / split, listed, place)
    train, val = (listed.folders(parent / split) for split, listed in splits.items())
    seed = params["seed"] if config.seed is None else config.seed
    job = TrainingJob(train, val, paths.model, Path(os.environ.get(STATE, paths.state)), seed=seed, place=place)
    processes = Processes.found()
    if processes.size == 1 and config.devices > 1:
        launch(config.devices, ["-m", "pipeline.train", *sys.argv[1:]])
        return
    try:
        if processes.first:
            lead(paths, job, config, model, params)
        else:
            fit(job, config, model)
    except PeerError:
        if speaks(processes):
            raise
        sys.exit(LOST)


def lead(
    paths: Namespace, job: TrainingJob, config: TrainConfig, model: ModelConfig, params: Mapping[str, Any]
) -> None:
    """Train as the first process, and keep what came out."""
    name = f"{model.adapter}-rank{model.rank}-{config.steps}steps"
    indexes = job.place.root.name if isinstance(job.place, Remote) else None
    made_from = {"indexes": indexes, "parent": init_sha256(config)}
    with exclusive(job.state), tracked(params, name, **made_from) as run:
        result = fit(job, config, model, report=run.live, show=run.show)
        write_results(paths.model, paths.metrics, result)
        run.finish(paths.metrics / "lineage.json", result.weights, result.history, {"training": speed(result)})
        forget(job.state)


if __name__ == "__main__":
    stage.run(main, "dataset", "shards", "model", "state", "metrics", check=True)
