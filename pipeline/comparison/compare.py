"""Adapters against CEA at equal parameters, steps and data: one DVC experiment per adapter and seed, then one table.

What is there already is not run again, so a comparison that was killed is simply started again. Each finished run
leaves a small record (`pipeline.comparison.records`) for git: with these a grid goes on in another clone, on another
machine.
``comparison/comparison.md`` is to be read, ``.csv`` and ``.json`` hold every number, ``images/`` each run's images. See
docs/comparison.md.
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
from collections.abc import Callable, Mapping, Sequence
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
from pipeline.comparison import curves, experiments, records
from pipeline.comparison.experiments import Experiment
from pipeline.comparison.scoreboard import Contest, page
from pipeline.preflight.estimate import step_seconds

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
    common, own = settings(options), owned(options, variants)
    return [
        Cell(
            variant,
            seed,
            Experiment(
                f"{options.name}-{variant}-s{seed}", {**common, **changes, **own[variant], "train.seed": seed}, carried
            ),
        )
        for seed in dict.fromkeys(options.seeds)
        for variant, model in variants.items()
        for changes in [{f"model.{key}": value for key, value in model.items()}]
    ]


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line changes for every run, as dotted key -> value."""
    short = {"train.max_steps": options.steps, "model.size": options.size}
    changes = {key: value for key, value in short.items() if value is not None}
    return changes | dict(_change("--set", word) for word in options.set)


def owned(options: argparse.Namespace, variants: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the command line changes for one variant alone (its learning rate), by variant."""
    own: dict[str, dict[str, Any]] = {name: {} for name in variants}
    for name, *changes in options.own:
        if name not in own:
            raise ConfigError(
                f"--own {name}", expected=f"one of {', '.join(own)}", remedy="name a variant of this comparison"
            )
        own[name] |= dict(_change("--own", word) for word in changes)
    return own


def _change(option: str, word: str) -> tuple[str, Any]:
    """``section.key=value`` as key and value."""
    key, equals, value = word.partition("=")
    if not equals or key.partition(".")[0] not in SECTIONS or "." not in key:
        raise ConfigError(
            f"{option} {word}",
            expected=f"key=value with a key of {', '.join(SECTIONS)}; other sections change the data",
            remedy=f"for example: {option} {'film ' * (option == '--own')}train.lr=0.002",
        )
    if key in OWN:
        raise ConfigError(
            f"{option} {word}", expected="a key that the grid does not set itself", remedy=f"use {OWN[key]}"
        )
    return key, experiments.parse_yaml(value)


def chosen(adapters: Sequence[str], extra: Sequence[Sequence[str]]) -> dict[str, dict[str, Any]]:
    """The variants asked for by name, the reference among them, then those spelled out as ``NAME key=value ...``."""
    variants = {}
    for name in dict.fromkeys([REFERENCE, *adapters]):
        if name not in VARIANTS:
            raise ConfigError(
                f"--adapters {name}", expected=", ".join(VARIANTS), remedy="name one of them, or use --variant"
            )
        variants[name] = VARIANTS[name]
    return spelled_out(extra, variants)


def spelled_out(extra: Sequence[Sequence[str]], named: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The named variants, then those of ``--variant``."""
    variants = {name: dict(keys) for name, keys in named.items()}
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
        raise InputError(
            "dvc repro shard failed", expected="data to train on", remedy="correct the cause that DVC has reported"
        )


def keep(cell: Cell, commit: str, params: Mapping[str, Any], data: str, folder: Path) -> None:
    """Write the record of a finished experiment."""
    facts = {
        "variant": cell.variant,
        "seed": cell.seed,
        "commit": commit,
        "training": json.loads(experiments.read(commit, "metrics/training.json")),
        "lineage": json.loads(experiments.read_output(commit, "metrics/lineage.json")),
    }
    curve = pl.read_csv(io.BytesIO(experiments.read(commit, "metrics/val_gain_psnr.csv")))
    images = pl.read_parquet(io.BytesIO(experiments.read_output(commit, "metrics/images.parquet")))
    record = records.record_of(facts, records.key_of(params, data), curve)
    records.write(folder, cell.experiment.name, record, images)


def recorded(cells: Sequence[Cell], base: Mapping[str, Any], data: str, folder: Path) -> dict[str, dict[str, Any]]:
    """The records of these cells, by experiment; a run that was made with anything else is refused.

    Those of finished experiments are written first.
    """
    commits = experiments.finished([cell.experiment for cell in cells], base)
    finished = {}
    for cell in cells:
        name, params = cell.experiment.name, cell.experiment.params(base)
        record = records.current(folder, name, records.key_of(params, data))
        if record is None and name in commits:
            keep(cell, commits[name], params, data, folder)
            record = records.read(folder, name)
        if record is not None:
            finished[name] = record
    return finished


def tables_of(finished: Mapping[str, Mapping[str, Any]], folder: Path, output: Path) -> pl.DataFrame:
    """The images of all records on top of each other; each run's own table goes to ``output/images``."""
    shutil.rmtree(output / "images", ignore_errors=True)
    tables = {name: records.images_of(folder, record) for name, record in finished.items()}
    for name, table in tables.items():
        write_table(output / "images" / f"{name}.parquet", table.drop("variant", "seed"))
    return pl.concat(tables.values())


def announce(missing: Sequence[Cell], base: Mapping[str, Any], jobs: int) -> None:
    """Say how long the trainings will take, from a few steps of each network."""
    seconds = {}
    for cell in missing:
        if cell.variant not in seconds:
            params = cell.experiment.params(base)
            model, train = load(ModelSection, params, "model"), load(TrainConfig, params, "train")
            seconds[cell.variant] = step_seconds(resolve(model), train) * train.max_steps
    hours = sum(seconds[cell.variant] for cell in missing) / max(1, min(jobs, len(missing))) / 3600
    logging.info(
        "%d runs to make, %d at a time: about %.1f h of training on this machine as busy as it is; "
        "validation and judging come on top",
        len(missing),
        jobs,
        hours,
    )


def write(output: Path, contest: Contest) -> None:
    """The table for machines and for people."""
    facts = {"settings": contest.settings, "costs": contest.costs, "runs": contest.runs}
    table = contest.table.with_columns(pl.selectors.float().round(4))
    write_bytes(output / "comparison.csv", table.write_csv().encode())
    write_bytes(output / "comparison.json", (json.dumps(facts | {"table": table.to_dicts()}, indent=1) + "\n").encode())
    figure = curves.svg(curves.by_variant(contest.runs), "mean and range over seeds")
    write_bytes(output / "curves.svg", figure)
    write_bytes(output / "comparison.md", page(contest).encode())


def main(options: argparse.Namespace) -> int:
    """Run what is missing, then write the table of what is there.

    Returns:
        The exit status: 1 where a run failed.
    """
    folder = options.records or Path("docs/comparison") / options.name
    experiments.require_clean(options.output, folder)
    base = read_params()
    cells = grid(chosen(options.adapters, options.variant), options, experiments.untracked(images_on_disk(base)))
    costs = costs_of(cells, base)
    make_data()
    experiments.require_clean(options.output, folder)  # data that came out differently are to be committed first
    data = records.data_digest()
    finished = recorded(cells, base, data, folder)
    missing = [cell for cell in cells if cell.experiment.name not in finished]
    logging.info("%d of %d runs are there", len(finished), len(cells))
    failed: list[str] = []
    if missing:
        announce(missing, base, options.jobs)
        failed = run_missing(missing, options, lambda cell: recorded([cell], base, data, folder))
        finished = recorded(cells, base, data, folder)
    if not any(record["variant"] == REFERENCE for record in finished.values()):
        logging.info("no table: %s has no finished run", REFERENCE)
        return 1
    table = compare(tables_of(finished, folder, options.output), REFERENCE)
    runs = [{"experiment": name, **_without_images(record)} for name, record in finished.items()]
    settings_of = next(cell for cell in cells if cell.variant == REFERENCE).experiment.params(base)
    absent = tuple(cell.experiment.name for cell in cells if cell.experiment.name not in finished)
    there = {name: cost for name, cost in costs.items() if any(run["variant"] == name for run in runs)}
    write(options.output, Contest(table, settings_of, there, runs, REFERENCE, absent))
    logging.info("%s", options.output / "comparison.md")
    return 1 if failed else 0


def _without_images(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("images", "samples")}


def run_missing(missing: Sequence[Cell], options: argparse.Namespace, keep: Callable[[Cell], object]) -> list[str]:
    """Run what is missing, and keep the record of each that is done; the names of those that failed."""
    cells = {cell.experiment.name: cell for cell in missing}
    done: list[str] = []

    def finish(name: str) -> None:
        keep(cells[name])
        done.append(name)
        logging.info("%d of %d: %s", len(done), len(missing), name)

    wanted = [cell.experiment for cell in missing]
    kept = experiments.states()
    return experiments.run_all(wanted, options.jobs, {"CEA_COMPARISON": options.name}, finish, kept)


def add_variant(arguments: argparse.ArgumentParser) -> None:
    """The option ``--variant``, which `spelled_out` reads."""
    arguments.add_argument(
        "--variant",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "KEY=VALUE"),
        help="one more, by keys of model; may be repeated",
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog="python -m pipeline.comparison.compare", description=__doc__)
    arguments.add_argument("--adapters", nargs="+", default=list(VARIANTS), metavar="NAME", help=", ".join(VARIANTS))
    add_variant(arguments)
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
    arguments.add_argument(
        "--own",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "KEY=VALUE"),
        help="of model, train or evaluate, for one variant alone; may be repeated",
    )
    arguments.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    arguments.add_argument("--name", default="cmp", help="in front of the experiments' names, and a tag in MLflow")
    arguments.add_argument("--output", type=Path, default=Path("comparison"), help="where the table goes")
    arguments.add_argument(
        "--records", type=Path, help="where finished runs are kept for git; default: docs/comparison/NAME"
    )
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
