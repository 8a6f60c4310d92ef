"""One degraded sample: its photograph, its record, its place in the shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cea.data.clean import read_clean
from cea.data.records import to_record
from cea.data.shards import PARTS, read_index
from cea.errors import DataError
from cea.io.tables import read_table
from cea.lineage.project import Project
from cea.types import SPLITS

Facts = dict[str, Any]
"""A trace: nested plain values that JSON can hold, in the order in which one reads them."""


@dataclass(frozen=True)
class Place:
    """Where a sample lies.

    Attributes:
        record: its row of the records table.
        clean: the row of its clean image.
        shard: the folder of its shards.
        index: its row of that folder's index.
    """

    record: Mapping[str, Any]
    clean: Mapping[str, Any]
    shard: Path
    index: Mapping[str, Any]


def drawn_facts(project: Project, sample: str) -> Facts:
    """What was decided before any training: photograph, recipe, drawn numbers, place in the shards.

    Raises:
        DataError: there is no such sample in the project.
    """
    located = find_sample(project, sample)
    record = to_record(located.record)
    drawn = record.model_dump(mode="json")
    return {
        "kind": "degraded sample",
        "sample": sample,
        "clean photograph": clean_facts(located.clean),
        "recipe": record.recipe,
        "variant": record.variant,
        "split": record.split,
        "crop": drawn["crop"],
        "even": record.uniform,
        "order": record.order,
        "engine": record.engine_version,
        "degradations": {node["label"]: _node_facts(node) for node in drawn["nodes"]},
        "scene": drawn["scene"],
        "shard": {
            "tar": _shown(project, located.shard / located.index["tar"]),
            "members": {
                f"{sample}.{part}.{suffix}": {
                    "offset": located.index[f"{part}_offset"],
                    "bytes": located.index[f"{part}_size"],
                }
                for part, suffix in PARTS.items()
            },
            "degraded pixels": located.index["degraded_sha256"],
            "clean pixels": located.index["clean_sha256"],
        },
    }


def find_sample(project: Project, sample: str) -> Place:
    """The record, clean image and shard of a sample.

    Raises:
        DataError: no record has that id, or it was rendered into no shard.
    """
    for stage in project.instances("synthesize"):
        for path in stage.outputs:
            row = sample_row(project.root / path, sample)
            if row is not None:
                return _place(project, row)
    raise DataError(
        f"no sample is called {sample!r}",
        expected="an id of data/records, such as astronaut-low_haze-0001",
        remedy="copy it from metrics/images.parquet or from the report",
    )


def clean_facts(row: Mapping[str, Any]) -> Facts:
    """What the table of clean images says of one of them."""
    names = ("id", "source", "licence", "sha256", "split", "height", "width", "kind", "group")
    return {name: row[name] for name in names} | {"depth map": row["depth_file"] or "procedural"}


def output_of(project: Project, stage: str, name: str = "") -> str:
    """The first output of a stage, or the one called ``name``, as dvc.lock spells it.

    Raises:
        DataError: the stage has not run.
    """
    for one in project.instances(stage):
        for path in one.outputs:
            if not name or Path(path).name == name:
                return path
    raise DataError(
        f"{project.root / 'dvc.lock'}: stage {stage} has not run", expected="a finished pipeline", remedy="dvc repro"
    )


def sample_row(table: Path, sample: str) -> dict[str, Any] | None:
    """The row of a sample in a Parquet table; None where there is none.

    Raises:
        DataError: no Parquet table with sample ids.
    """
    rows = read_table(table, {"sample_id": pl.String}, remedy="dvc checkout, or dvc repro")
    return first_row(rows.lazy(), pl.col("sample_id") == sample)


def first_row(table: pl.LazyFrame, wanted: pl.Expr) -> dict[str, Any] | None:
    """The first row that is ``wanted``; None where there is none."""
    rows = table.filter(wanted).collect()
    return None if rows.is_empty() else rows.row(0, named=True)


def _place(project: Project, record: Mapping[str, Any]) -> Place:
    clean = read_clean(project.root / output_of(project, "ingest")).filter(id=record["clean_id"])
    for path in project.stages[f"shard@{record['recipe']}"].outputs:
        folder = project.root / path
        if record["split"] in Path(path).parts:
            index = read_index(folder).filter(sample_id=record["sample_id"])
            if not clean.is_empty() and not index.is_empty():
                return Place(record, clean.row(0, named=True), folder, index.row(0, named=True))
    raise DataError(
        f"sample {record['sample_id']} was drawn and not rendered here",
        expected=f"it in the shards of {', '.join(SPLITS)}",
        remedy="run dvc repro, or dvc pull",
    )


def _node_facts(node: Mapping[str, Any]) -> Facts:
    return {key: value for key, value in node.items() if key != "label"}


def _shown(project: Project, path: Path) -> str:
    return path.resolve().relative_to(project.root.resolve()).as_posix()
