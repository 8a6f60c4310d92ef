"""Adapters against CEA at equal parameters, steps and data: one DVC experiment per adapter and seed, then one table.

What is there already is not run again, so a comparison that was killed is simply started again. Nothing is committed to
a branch: ``comparison/comparison.md`` is to be read, ``.csv`` and ``.json`` hold every number, ``images/`` each run's
images. See docs/comparison.md.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cea.config import Config, load, read_params, section
from cea.errors import ConfigError, InputError
from cea.evaluation.comparison import compare
from cea.evaluation.config import EvaluationConfig
from cea.io.images import write_bytes
from cea.io.tables import write_table
from cea.models.config import ModelSection
from cea.models.measure.cost import figures
from cea.models.measure.matching import resolve
from cea.training.config import TrainConfig
from pipeline.comparison import experiments
from pipeline.comparison.experiments import Experiment
from pipeline.comparison.scoreboard import Contest, page

REFERENCE = "cea"

VARIANTS: dict[str, dict[str, Any]] = {
    "cea": {"adapter": "cea", "equal_to": None},
    "none": {"adapter": "none", "equal_to": None},
    "none-wide": {"adapter": "none", "equal_to": "cea"},
    "lora": {"adapter": "lora", "equal_to": "cea"},
    "film": {"adapter": "film", "equal_to": "cea"},
    "film-local": {"adapter": "film-local", "equal_to": "cea"},
    "prompt": {"adapter": "prompt", "equal_to": "cea"},
    "moe": {"adapter": "moe", "equal_to": "cea"},
}
"""Changes to section ``model``: every rival gets as many parameters as CEA; the plain network appears twice."""


SECTIONS: dict[str, type[Config]] = {"model": ModelSection, "train": TrainConfig, "evaluate": EvaluationConfig}
"""What may differ from params.yaml, for all runs alike."""


OWN = {"train.seed": "--seeds", "model.adapter": "--adapters or --variant", "model.equal_to": "--adapters or --variant"}
"""Keys that differ from run to run, and what sets them."""


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    variant: str
    seed: int
    experiment: Experiment


def grid(
    variants: Mapping[str, Mapping[str, Any]], options: argparse.Namespace, carried: tuple[str, ...] = ()
) -> list[Cell]:
    """Every variant with every seed, all variants of one seed before the next.

    ``train.seed`` changes the initial weights and the sequence of patches; the data stay as they are.
    """
    common = settings(options)
    return [
        Cell(
            variant,
            seed,
            Experiment(f"{options.name}-{variant}-s{seed}", {**common, **own, "train.seed": seed}, carried),
        )
        for seed in dict.fromkeys(options.seeds)
        for variant, model in variants.items()
        for own in [{f"model.{key}": value for key, value in model.items()}]
    ]


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line changes for every run, as dotted key -> value."""
    short = {"train.max_steps": options.steps, "model.size": options.size}
    changes = {key: value for key, value in short.items() if value is not None}
    for word in options.set:
        key, equals, value = word.partition("=")
        if not equals or key.partition(".")[0] not in SECTIONS or "." not in key:
            raise ConfigError(
                f"--set {word}",
                expected=f"key=value with a key of {', '.join(SECTIONS)}; other sections change the data",
                remedy="for example: --set train.lr=0.002",
            )
        if key in OWN:
            raise ConfigError(
                f"--set {word}", expected="a key that the grid does not set itself", remedy=f"use {OWN[key]}"
            )
        changes[key] = experiments.parse_yaml(value)
    return changes


def chosen(adapters: Sequence[str], extra: Sequence[Sequence[str]]) -> dict[str, dict[str, Any]]:
    """The variants asked for by name, the reference among them, then those spelled out as ``NAME key=value ...``."""
    variants = {}
    for name in dict.fromkeys([REFERENCE, *adapters]):
        if name not in VARIANTS:
            raise ConfigError(
                f"--adapters {name}", expected=", ".join(VARIANTS), remedy="name one of them, or use --variant"
            )
        variants[name] = VARIANTS[name]
    for name, *changes in extra:
        if name in variants or not all("=" in change for change in changes):
            raise ConfigError(
                f"--variant {' '.join([name, *changes])}",
                expected="a new name, then key=value of section model",
                remedy="for example: --variant cea-cosine adapter=cea affinity=cosine",
            )
        variants[name] = {key: experiments.parse_yaml(value) for key, _, value in (c.partition("=") for c in changes)}
    return variants


def costs_of(cells: Sequence[Cell], base: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Cost by variant; a value that a stage would refuse, or parameters that cannot be matched, are found here."""
    models: dict[str, ModelSection] = {}
    for cell in cells:
        params = cell.experiment.params(base)
        for key, kind in SECTIONS.items():
            load(kind, params, key)
        models[cell.variant] = load(ModelSection, params, "model")
    return {variant: figures(resolve(model)) for variant, model in models.items()}


def images_on_disk(params: Mapping[str, Any]) -> list[str]:
    """Folders that stages read and git ignores: photographs to train on, and to be judged on."""
    evaluation = load(EvaluationConfig, params, "evaluate")
    own = str(section(params, "ingest.sources.folder.path"))
    return [own, *(str(one.path) for one in evaluation.testsets.values()), *map(str, evaluation.photographs.values())]


def make_data() -> None:
    """The shards, once, before several runs need them at the same time."""
    if subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet", "shard"], check=False).returncode:
        raise InputError("dvc repro shard failed", expected="data to train on", remedy="correct what DVC reports above")


def collect(cells: Sequence[Cell], commits: Mapping[str, str], output: Path) -> pl.DataFrame:
    """The images of all finished runs on top of each other; each run's own table goes to ``output/images``."""
    tables = []
    shutil.rmtree(output / "images", ignore_errors=True)
    for cell in cells:
        if commit := commits.get(cell.experiment.name):
            images = pl.read_parquet(io.BytesIO(experiments.read_output(commit, "metrics/images.parquet")))
            write_table(output / "images" / f"{cell.experiment.name}.parquet", images)
            tables.append(images.with_columns(pl.lit(cell.variant).alias("variant"), pl.lit(cell.seed).alias("seed")))
    return pl.concat(tables)


def facts_of(cell: Cell, commit: str) -> dict[str, Any]:
    """Budget and origin of a finished run."""
    return {
        "variant": cell.variant,
        "seed": cell.seed,
        "experiment": cell.experiment.name,
        "commit": commit,
        "training": json.loads(experiments.read(commit, "metrics/training.json")),
        "lineage": json.loads(experiments.read_output(commit, "metrics/lineage.json")),
    }


def write(output: Path, contest: Contest) -> None:
    """The table for machines and for people."""
    facts = {"settings": contest.settings, "costs": contest.costs, "runs": contest.runs}
    table = contest.table.with_columns(pl.selectors.float().round(4))
    write_bytes(output / "comparison.csv", table.write_csv().encode())
    write_bytes(output / "comparison.json", (json.dumps(facts | {"table": table.to_dicts()}, indent=1) + "\n").encode())
    write_bytes(output / "comparison.md", page(contest).encode())


def main(options: argparse.Namespace) -> int:
    """Run what is missing, then write the table of what is there.

    Returns:
        The exit status: 1 where a run failed.
    """
    experiments.require_clean(options.output)
    base = read_params()
    cells = grid(chosen(options.adapters, options.variant), options, experiments.untracked(images_on_disk(base)))
    costs = costs_of(cells, base)
    wanted = [cell.experiment for cell in cells]
    there = experiments.finished(wanted, base)
    missing = [experiment for experiment in wanted if experiment.name not in there]
    logging.info("%d of %d runs are there", len(there), len(cells))
    failed = run_missing(missing, options) if missing else []
    commits = experiments.finished(wanted, base)
    done = [cell for cell in cells if cell.experiment.name in commits]
    if not any(cell.variant == REFERENCE for cell in done):
        logging.info("no table: %s has no finished run", REFERENCE)
        return 1
    table = compare(collect(done, commits, options.output), REFERENCE)
    runs = [facts_of(cell, commits[cell.experiment.name]) for cell in done]
    reference = next(cell for cell in done if cell.variant == REFERENCE)
    write(options.output, Contest(table, reference.experiment.params(base), costs, runs, REFERENCE))
    logging.info("%s", options.output / "comparison.md")
    return 1 if failed else 0


def run_missing(missing: Sequence[Experiment], options: argparse.Namespace) -> list[str]:
    """Run the experiments that are missing, saying which is done; the names of those that failed."""
    make_data()
    experiments.require_clean(options.output)  # data that came out differently are to be committed first
    done: list[str] = []

    def log(name: str) -> None:
        done.append(name)
        logging.info("%d of %d: %s", len(done), len(missing), name)

    return experiments.run_all(missing, options.jobs, {"CEA_COMPARISON": options.name}, log)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog="python -m pipeline.comparison.compare", description=__doc__)
    arguments.add_argument("--adapters", nargs="+", default=list(VARIANTS), metavar="NAME", help=", ".join(VARIANTS))
    arguments.add_argument(
        "--variant",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "KEY=VALUE"),
        help="one more, by keys of model; may be repeated",
    )
    arguments.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="N", help="of each adapter")
    arguments.add_argument("--steps", type=int, help="train.max_steps; default: as in params.yaml")
    arguments.add_argument("--size", help="model.size; default: as in params.yaml")
    arguments.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="of model, train or evaluate, for all; may be repeated",
    )
    arguments.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    arguments.add_argument("--name", default="cmp", help="in front of the experiments' names, and a tag in MLflow")
    arguments.add_argument("--output", type=Path, default=Path("comparison"), help="where the table goes")
    return arguments


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(main(parser().parse_args()))
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on from the runs that are finished\n")
        sys.exit(130)
