"""Which learning rate suits which variant: short trainings, judged by the validation images alone.

``python -m pipeline.comparison.rates --steps 5000`` trains every variant at each multiple of the rates of params.yaml
and writes one record each; the same command goes on where it was killed. Several may run at a time. The test images
are not looked at.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch starts its threads: idle ones must sleep

import argparse
import fcntl
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import polars as pl

from cea.config import load, read_params
from cea.data.dataset import read_split
from cea.errors import InputError
from cea.lineage.facts import lineage
from cea.models.config import ModelSection
from cea.models.measure.allocator import keep_freed_memory
from cea.models.measure.matching import resolve
from cea.training.config import TrainConfig
from cea.training.fit import TrainingJob, fit
from cea.training.results import speed
from pipeline.comparison import records
from pipeline.comparison.compare import VARIANTS, add_variant, settings, spelled_out

WORK = Path(".dvc/tmp/compare/rates")
"""States of trainings that go on; git ignores it."""

DATASET, SHARDS = Path("data/dataset"), Path("data/shards")


def params_of(
    base: Mapping[str, Any], changes: Mapping[str, Any], variant: Mapping[str, Any], factor: float
) -> dict[str, Any]:
    """All parameters of one training: both rates, of AdamW and of Muon, times ``factor``."""
    params = deepcopy(dict(base))
    for key, value in changes.items():
        section, _, name = key.partition(".")
        params[section][name] = value
    params["model"].update(variant)
    train = load(TrainConfig, params, "train")
    params["train"].update(lr=train.lr * factor, muon_lr=train.muon_lr * factor)
    return params


def train(params: Mapping[str, Any], name: str, facts: Mapping[str, Any], folder: Path, data: str) -> dict[str, Any]:
    """Train, or go on, and write the record."""
    config, model = load(TrainConfig, params, "train"), resolve(load(ModelSection, params, "model"))
    key = records.key_of(params, data)
    parts = [read_split(DATASET / f"{split}.json").folders(SHARDS / split) for split in ("train", "val")]
    origin = lineage(params["seed"])
    job = TrainingJob(parts[0], parts[1], WORK / name / "model", WORK / name / "state", key["seed"])
    result = fit(job, config, model, progress=False)
    curve = pl.DataFrame(result.history["val/gain_psnr"], schema=["step", "gain_psnr"], orient="row")
    record = records.record_of({**facts, "training": speed(result), "lineage": origin}, key, curve)
    records.write(folder, name, record)
    shutil.rmtree(WORK / name)
    return record


@contextmanager
def claimed(name: str) -> Iterator[bool]:
    """Whether this process may work on ``name``: no other one does."""
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def main(options: argparse.Namespace) -> int:
    """Train what has no record yet, all variants at one rate before the next."""
    keep_freed_memory()
    base, changes, data = read_params(), settings(options), records.data_digest()
    variants = spelled_out(options.variant, {name: VARIANTS[name] for name in options.adapters})
    for factor in dict.fromkeys(options.factors):
        for variant, keys in variants.items():
            params = params_of(base, changes, keys, factor)
            name = f"rate-{variant}-x{factor:g}"
            with claimed(name) as mine:
                if not mine or records.current(options.records, name, records.key_of(params, data)):
                    continue
                seed = params["seed"] if params["train"].get("seed") is None else params["train"]["seed"]
                facts = {"variant": variant, "factor": factor, "seed": seed}
                done = train(params, name, facts, options.records, data)["training"]
                logging.info("%s: %.3f dB, %.0f s", name, done["best_val_gain_psnr"], done["seconds"])
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog="python -m pipeline.comparison.rates", description=__doc__)
    arguments.add_argument("--adapters", nargs="*", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME")
    add_variant(arguments)
    arguments.add_argument(
        "--factors", nargs="+", type=float, default=[1.0, 2.0, 0.5], metavar="F", help="of the rates"
    )
    arguments.add_argument("--steps", type=int, default=5000, help="train.max_steps")
    arguments.add_argument("--size", help="model.size; default: as in params.yaml")
    arguments.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="for all of them")
    arguments.add_argument("--records", type=Path, default=Path("docs/comparison/rates"), help="where records go")
    return arguments


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        sys.exit(main(parser().parse_args()))
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
