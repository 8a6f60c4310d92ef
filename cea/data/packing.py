"""Rendering records into shards: in parallel, restartable, byte-identical on every run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from joblib import Parallel, delayed
from pydantic import Field

from cea.config import Config
from cea.data.archive import TarWriter
from cea.data.clean import load_clean
from cea.data.folders import atomic_folder
from cea.data.records import to_record
from cea.data.shards import FORMAT, INDEX, PARTS
from cea.data.tables import write_table
from cea.degradations.records import Record
from cea.degradations.render import Rendered, render
from cea.errors import DataError
from cea.imageio import encode_png, pixel_sha256, write_bytes


class ShardConfig(Config):
    """How samples are packed."""

    samples_per_tar: int = Field(default=48, ge=1, le=100_000)
    """Samples in one tar; the unit of parallel rendering and of streaming."""


@dataclass(frozen=True)
class _Job:
    """One tar: where to write it, and the rows of the records table that go into it."""

    tar: Path
    clean_folder: Path
    rows: tuple[dict[str, Any], ...]


def write_shards(
    folder: Path, records: pl.DataFrame, clean_folder: Path, config: ShardConfig, *, workers: int = 1
) -> pl.DataFrame:
    """Render ``records`` into ``folder``, which is replaced as a whole; returns the index.

    The bytes depend neither on ``workers`` nor on earlier runs. One tar is one job of ``joblib.Parallel``, so another
    joblib backend (dask, ray) can take over. Memory is that of ``workers`` samples, however many there are.

    Args:
        folder: e.g. ``data/shards/train/haze``.
        records: rows of a records table joined with ``file`` and ``depth_file`` of the clean table (see `select`).
        clean_folder: the folder that these two are relative to.
        config: packing.
        workers: processes, at most one per tar.

    Raises:
        DataError: no records, a clean image missing or changed, or the disk is full.
    """
    if records.is_empty():
        raise DataError(f"{folder}: no samples to render", expected="at least one record", remedy="check synthesize")
    with atomic_folder(folder) as partial:
        jobs = _jobs(partial, records, clean_folder, config)
        tars = -(-len(records) // config.samples_per_tar)
        done = Parallel(n_jobs=min(workers, tars), return_as="generator")(delayed(_write_tar)(job) for job in jobs)
        index = pl.DataFrame([row for rows in done for row in rows], schema=INDEX)
        write_table(partial / "index.parquet", index)
        write_bytes(partial / "index.json", _summary(partial, index))
    return index


def write_empty(folder: Path) -> None:
    """A folder of shards without samples, index and all: what a recipe that is only tested on leaves to training."""
    with atomic_folder(folder) as partial:
        index = pl.DataFrame(schema=INDEX)
        write_table(partial / "index.parquet", index)
        write_bytes(partial / "index.json", _summary(partial, index))


def select(records: pl.DataFrame, clean: pl.DataFrame, split: str) -> pl.DataFrame:
    """The records of one split, each with the files of its clean image, in the table's order.

    Raises:
        DataError: a record speaks of an image that the clean table does not hold.
    """
    files = clean.select("id", "sha256", "file", "depth_file")
    chosen = records.filter(pl.col("split") == split).join(
        files, left_on=["clean_id", "clean_sha256"], right_on=["id", "sha256"], how="left", maintain_order="left"
    )
    missing = chosen.filter(pl.col("file").is_null())
    if len(missing):
        raise DataError(
            f"clean image {missing['clean_id'][0]!r} of sample {missing['sample_id'][0]!r} is not in the clean table",
            expected="records drawn from this clean table",
            remedy="run synthesize again",
        )
    return chosen


def _jobs(folder: Path, records: pl.DataFrame, clean_folder: Path, config: ShardConfig) -> Iterator[_Job]:
    for number, rows in enumerate(records.iter_slices(config.samples_per_tar)):
        yield _Job(folder / f"{number:06d}.tar", clean_folder, tuple(rows.iter_rows(named=True)))


def _write_tar(job: _Job) -> list[dict[str, Any]]:
    """Render one tar; a pure function of the job, safe in any process. Returns its rows of the index."""
    with TarWriter(job.tar) as tar:
        return [_write_sample(tar, job, row) for row in job.rows]


def _write_sample(tar: TarWriter, job: _Job, row: Mapping[str, Any]) -> dict[str, Any]:
    record = to_record(row)
    clean = load_clean(job.clean_folder, row["file"], row["depth_file"], row["clean_sha256"])
    rendered = render(record, clean.rgb, inverse_depth=clean.inverse_depth)
    members = dict(zip(PARTS, _encode(record, rendered), strict=True))
    ranges: dict[str, int] = {}
    for part, data in members.items():
        offset, size = tar.add(f"{record.sample_id}.{part}.{PARTS[part]}", data)
        ranges |= {f"{part}_offset": offset, f"{part}_size": size}
    height, width = rendered.clean.shape[:2]
    return {
        **{name: row[name] for name in INDEX if name in row},
        **ranges,
        "tar": job.tar.name,
        "height": height,
        "width": width,
        "clean_sha256": pixel_sha256(rendered.clean),
        "degraded_sha256": pixel_sha256(rendered.degraded),
    }


def _encode(record: Record, rendered: Rendered) -> Iterable[bytes]:
    bands = np.rint(rendered.severity * np.float32(255)).astype(np.uint8)
    yield encode_png(rendered.clean)
    yield encode_png(rendered.degraded)
    # A recipe whose nodes all sat out has no bands, but a PNG needs a row: one band of zeros stands in.
    yield encode_png(bands.reshape(-1, bands.shape[-1]) if len(bands) else np.zeros(bands.shape[1:], np.uint8))
    yield record.model_dump_json().encode()


def _summary(folder: Path, index: pl.DataFrame) -> bytes:
    tars = {
        name: {"samples": count, "bytes": (folder / name).stat().st_size}
        for name, count in index.group_by("tar", maintain_order=True).len().iter_rows()
    }
    pixels = "".join(index["clean_sha256"].to_list() + index["degraded_sha256"].to_list())
    summary = {
        "format": FORMAT,
        "samples": len(index),
        "bytes": sum(facts["bytes"] for facts in tars.values()),
        "pixels_sha256": hashlib.sha256(pixels.encode()).hexdigest(),
        "tars": tars,
    }
    return (json.dumps(summary, indent=1) + "\n").encode()
