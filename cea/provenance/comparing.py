"""What a run that was made again is held to, by where it was made: bit for bit, or within a measured distance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cea.config import read_params
from cea.io.documents import read_json
from cea.io.images import file_sha256
from cea.lineage.facts import hardware
from cea.lineage.project import Project
from cea.lineage.record import Record, training_threads
from cea.lineage.stored import Found

ORDER = ("code", "ingest", "synthesize", "shard", "dataset", "testset", "photographs", "leaks", "train")
"""The stages as they follow one another."""


@dataclass(frozen=True)
class Row:
    """One comparison; ``same`` is None where nothing is promised (weights on another type of processor)."""

    stage: str
    output: str
    expected: str
    got: str
    same: bool | None


@dataclass(frozen=True)
class Promise:
    """How near a run must come where it is made again.

    Attributes:
        where: in words.
        weights: whether they must be the same, bit for bit.
        mean_db: how far means over all images may be apart, in dB of PSNR.
        recipe_db: the same for means over the images of one recipe.
    """

    where: str
    weights: bool
    mean_db: float
    recipe_db: float

    @property
    def words(self) -> str:
        """As ``--dry-run`` says it."""
        if self.weights:
            return f"on the {self.where}: weights and metrics bit for bit"
        return f"on {self.where}: metrics within {self.mean_db} dB over all images, {self.recipe_db} dB by recipe"


SAME = Promise("same type of processor with the same threads", True, 0.0, 0.0)
THREADS = Promise("another number of training threads", False, 0.2, 0.6)
PROCESSOR = Promise("another type of processor, or a GPU", False, 0.3, 1.0)
"""Measured for the default run on two types: 4.32 and 4.45 dB over all images, up to 0.74 dB apart by recipe."""


def promise(record: Record, project: Path | None = None) -> Promise:
    """What holds where the record's run is made again on this machine.

    Args:
        record: of the run.
        project: where it is made again, whose parameters name the threads; None: as the record has them.
    """
    here = hardware()
    if any(one.get("gpu") for one in (record.hardware, here)) or record.hardware.get("cpu") != here["cpu"]:
        return PROCESSOR
    if project is not None and threads_differ(record, project):
        return THREADS
    return SAME


def threads_differ(record: Record, project: Path) -> bool:
    """Whether the training in ``project`` divides its work otherwise than the recorded one."""
    return record.hardware.get("threads", threads_in(record, project)) != threads_in(record, project)


def threads_in(record: Record, project: Path) -> str:
    """The training threads in ``project`` under the record's environment."""
    return training_threads(read_params(project / "params.yaml"), record.environment)


def order_of(stage: str) -> int:
    """Where a stage stands in `ORDER`, behind it where it is none of them."""
    name = stage.partition("@")[0]
    return ORDER.index(name) if name in ORDER else len(ORDER)


def data_rows(record: Record, made: Project) -> Iterator[Row]:
    """Every output of every stage before the training, by DVC's digest."""
    for name in sorted(record.stages, key=order_of):
        if name == "code":  # a cause, not a result
            continue
        outputs = made.stages[name].outputs if name in made.stages else {}
        for path, expected in record.stages[name].items():
            got = outputs.get(path, "none")
            yield Row(name, path, expected, got, expected == got)


def weight_rows(record: Record, project: Path, held: Promise) -> Iterator[Row]:
    """Every file of weights, by SHA-256."""
    for name, expected in record.weights.items():
        path = project / "data/model" / name
        got = file_sha256(path) if path.is_file() else "none"
        same = expected == got
        yield Row("train", f"data/model/{name}", expected, got, same if same or held.weights else None)


def metric_rows(recorded: Found, project: Path, held: Promise) -> Iterator[Row]:
    """PSNR of input and output over all images and by recipe; nothing where the record's figures are out of reach."""
    if recorded.summary is None:
        return
    remedy = "see what its evaluate stage printed"
    again = _decibels(read_json(project / "metrics/summary.json", expected="what evaluate writes", remedy=remedy))
    for key, expected in _decibels(recorded.summary).items():
        tolerance = held.recipe_db if key.startswith("recipes.") else held.mean_db
        got = again.get(key)
        same = got is not None and abs(got - expected) <= tolerance
        rule = f"within {tolerance} dB" if tolerance else "bit for bit"
        yield Row("evaluate", f"{key} ({rule})", str(expected), str(got), same)


def _decibels(summary: Mapping[str, Any]) -> dict[str, float]:
    """The figures that are compared: PSNR of input and output, over all images and by recipe."""
    names = ("input_psnr", "output_psnr", "gain_psnr")
    groups = {"": summary, **{f"recipes.{name}.": part for name, part in summary.get("recipes", {}).items()}}
    return {f"{group}{name}": part[name] for group, part in groups.items() for name in names if name in part}
