"""Rendering records into shards: in parallel, restartable, byte-identical on every run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from cea.config import Config
from cea.data import png
from cea.data.archive import TarWriter
from cea.data.clean import CleanRows, load_clean
from cea.data.cluster import RayConfig
from cea.data.records import record_parts, to_record
from cea.data.shards import INDEX, PARTS, RECORDS, Part, write_index, write_index_rows
from cea.data.tiles import tile_name
from cea.data.workers import results
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import Rendered, render
from cea.errors import DataError
from cea.io.folders import atomic_folder
from cea.io.images import pixel_sha256
from cea.io.sequences import in_parts
from cea.levels import to_codes


class ShardConfig(Config):
    """How samples are packed, and by whom."""

    samples_per_tar: int = Field(default=48, ge=1, le=100_000)
    """Samples in one tar; the unit of streaming."""
    store: Literal["pixels", "records"] = "pixels"
    """``pixels``: rendered samples. ``records``: each clean tile once for all recipes, and the records, from which the
    same pixels are rendered as they are read."""

    engine: Literal["local", "ray"] = "local"
    """Processes of this machine (`write_shards`), or tasks on a Ray cluster (`cea.data.on_ray`): the same bytes."""

    unrenderable: Literal["refuse", "skip"] = "refuse"
    """With ray: a sample whose worker dies whenever it is rendered, and nothing else does: refused or left out."""

    ray: RayConfig = RayConfig()
    """The cluster."""

    upload: str | None = Field(default=None, pattern=r"^[a-z0-9]+://.+")
    """Where a copy goes, such as ``s3://bucket/prefix``; with ray, workers put tars there and need no common folder."""


_TILES_PER_JOB = 4
"""Tiles that a worker renders at a time: 50 ms of work for 1 ms of sending. Whole images go singly."""


_FILES = ("id", "sha256", "file", "depth_file")
"""Columns of the clean table that a record needs."""


@dataclass(frozen=True)
class _RenderJob:
    """Rows of the records table for one worker to render."""

    clean_folder: Path
    rows: tuple[dict[str, Any], ...]
    parts: tuple[Part, ...]
    """Members that are kept of each sample."""


@dataclass(frozen=True)
class Packed:
    """A rendered sample: what its row of the index says before it has a place in a tar, and its encoded members."""

    row: dict[str, Any]
    members: dict[Part, bytes]


@dataclass(frozen=True)
class Selection:
    """The records of one split, each with the files of its clean image, read as they are asked for.

    Attributes:
        parts: gives them from the first one on, as `select` does, in tables of any length.
        count: how many there are.
        tiled: whether all of them are tiles, and no whole images.
    """

    parts: Callable[[], Iterable[pl.DataFrame]]
    count: int
    tiled: bool

    @classmethod
    def of(cls, parts: Callable[[], Iterable[pl.DataFrame]]) -> Selection:
        """Look through all ``parts``.

        Raises:
            DataError: as `select`.
        """
        count, tiled = 0, True
        for part in parts():
            count, tiled = count + len(part), tiled and not part["crop"].has_nulls()
        return cls(parts, count, tiled)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows in their order."""
        return chain.from_iterable(part.iter_rows(named=True) for part in self.parts())


def write_shards(
    folder: Path, records: pl.DataFrame | Selection, clean_folder: Path, config: ShardConfig, *, workers: int = 1
) -> int:
    """Render ``records`` into ``folder``, which is replaced as a whole; how many there were.

    Where records are stored, samples are rendered all the same, for the digests that they have to have later on.

    The bytes depend neither on ``workers`` nor on earlier runs. Workers render and encode, a few samples per job of
    ``joblib.Parallel`` (so another joblib backend, dask or ray, can take over); this process only writes. Memory is
    that of the samples on their way, however many there are in all and however slow the disk is: records are read and
    the index is written a few thousand rows at a time, and a worker gets no
    more than a few jobs before their samples are written (`cea.data.workers.results`).

    Args:
        folder: e.g. ``data/shards/train/haze``.
        records: rows of a records table joined with ``file`` and ``depth_file`` of the clean table (see `select` and
            `select_from`).
        clean_folder: the folder that these two are relative to.
        config: packing.
        workers: processes that render.

    Raises:
        DataError: no records, a clean image missing or changed, or the disk is full.
    """
    selection = as_selection(records, folder)
    with atomic_folder(folder) as partial:
        step = _TILES_PER_JOB if selection.tiled else 1
        parts = parts_of(config)
        jobs = (_RenderJob(clean_folder, tuple(rows), parts) for rows in in_parts(selection.rows(), step))
        packed = _rendered(jobs, min(workers, -(-selection.count // step)))
        rows = _write_tars(partial, packed, config.samples_per_tar)
        return write_index_rows(partial, rows, schema_of(config))


def as_selection(records: pl.DataFrame | Selection, folder: Path) -> Selection:
    """``records`` that are to be rendered into ``folder``.

    Raises:
        DataError: there are none.
    """
    selection = records if isinstance(records, Selection) else Selection.of(lambda: [records])
    if not selection.count:
        raise DataError(f"{folder}: no samples to render", expected="at least one record", remedy="check synthesize")
    return selection


def parts_of(config: ShardConfig) -> tuple[Part, ...]:
    """The members of a sample that are kept."""
    return tuple(PARTS) if config.store == "pixels" else ("record",)


def schema_of(config: ShardConfig) -> dict[str, Any]:
    """The columns of the index."""
    return INDEX if config.store == "pixels" else INDEX | RECORDS


def write_empty(folder: Path) -> None:
    """A folder of shards without samples, index and all: what a recipe that is only tested on leaves to training."""
    with atomic_folder(folder) as partial:
        index = pl.DataFrame(schema=INDEX)
        write_index(partial, index)


def select(records: pl.DataFrame, clean: pl.DataFrame | CleanRows, split: str) -> pl.DataFrame:
    """The records of one split, each with the files of its clean image, in the table's order.

    Raises:
        DataError: a record speaks of an image that the clean table does not hold.
    """
    records = records.filter(pl.col("split") == split)
    rows = clean.among(records["clean_id"]) if isinstance(clean, CleanRows) else clean
    chosen = records.join(
        rows.select(_FILES),
        left_on=["clean_id", "clean_sha256"],
        right_on=["id", "sha256"],
        how="left",
        maintain_order="left",
    )
    missing = chosen.filter(pl.col("file").is_null())
    if len(missing):
        raise DataError(
            f"clean image {missing['clean_id'][0]!r} of sample {missing['sample_id'][0]!r} is not in the clean table",
            expected="records drawn from this clean table",
            remedy="run synthesize again",
        )
    return chosen


def select_from(path: Path, clean_folder: Path, split: str) -> Selection:
    """The same from the tables of records at ``path`` and of clean images, some thousand rows of each at a time.

    Raises:
        DataError: as `select`, `cea.data.records.record_parts` and `CleanRows`.
    """
    clean = CleanRows(clean_folder, _FILES)
    return Selection.of(lambda: (select(part, clean, split) for part in record_parts(path)))


def tiles_from(paths: Iterable[Path], clean_folder: Path, split: str) -> Iterator[pl.DataFrame]:
    """What `cea.data.tiling.write_tiles` needs of the tables of records at ``paths``, some thousand rows at a time.

    Raises:
        DataError: as `select_from`.
    """
    clean = CleanRows(clean_folder, _FILES)
    for path in paths:
        for part in record_parts(path, ("sample_id", "split", "clean_id", "clean_sha256", "crop")):
            yield select(part, clean, split)


def _rendered(jobs: Iterator[_RenderJob], workers: int) -> Iterator[Packed]:
    """The samples of all jobs in order."""
    return chain.from_iterable(results(_render_job, jobs, workers))


def _write_tars(folder: Path, packed: Iterator[Packed], samples_per_tar: int) -> Iterator[dict[str, Any]]:
    """Write all samples in their order; yields their rows of the index."""
    for number, first in enumerate(packed):
        with TarWriter(folder / f"{number:06d}.tar") as tar:
            for sample in chain([first], islice(packed, samples_per_tar - 1)):
                yield write_sample(tar, f"{number:06d}.tar", sample)


def write_sample(tar: TarWriter, name: str, sample: Packed) -> dict[str, Any]:
    """Append a sample to the tar called ``name``; returns its row of the index."""
    ranges = {f"{part}_{what}": 0 for part in PARTS for what in ("offset", "size")}
    for part, data in sample.members.items():
        offset, size = tar.add(f"{sample.row['sample_id']}.{part}.{PARTS[part]}", data)
        ranges |= {f"{part}_offset": offset, f"{part}_size": size}
    return {**sample.row, **ranges, "tar": name}


def _render_job(job: _RenderJob) -> list[Packed]:
    """Render a few samples; a pure function of the job, safe in any process."""
    return [render_sample(job.clean_folder, row, job.parts) for row in job.rows]


def render_sample(clean_folder: Path, row: Mapping[str, Any], parts: tuple[Part, ...] = tuple(PARTS)) -> Packed:
    """Render and encode one sample: a pure function of ``row`` (see `select`) and of the clean image that it names.

    ``parts`` are the members that are kept (`parts_of`).

    Raises:
        DataError: the clean image is missing or has changed.
    """
    record = to_record(row)
    clean = load_clean(clean_folder, row["file"], row["depth_file"], row["clean_sha256"])
    rendered = render(record, clean.rgb, inverse_depth=clean.inverse_depth)
    height, width = rendered.clean.shape[:2]
    facts = {
        **{name: row[name] for name in INDEX if name in row},
        "height": height,
        "width": width,
        "clean_sha256": pixel_sha256(rendered.clean),
        "degraded_sha256": pixel_sha256(rendered.degraded),
    }
    if parts == tuple(PARTS):
        return Packed(facts, _encoded(record, rendered))
    members: dict[Part, bytes] = {"record": record.model_dump_json().encode()}
    return Packed(facts | _record_facts(record, rendered, members["record"]), members)


def _record_facts(record: Record, rendered: Rendered, data: bytes) -> dict[str, str]:
    """What an index of records says beyond one of pixels."""
    bands = to_codes(rendered.severity)
    return {
        "tile": tile_name(record.clean_id, record.crop),
        "severity_sha256": pixel_sha256(bands),
        "severity_png_sha256": hashlib.sha256(_severity_png(bands)).hexdigest(),
        "record_sha256": hashlib.sha256(data).hexdigest(),
    }


def _encoded(record: Record, rendered: Rendered) -> dict[Part, bytes]:
    return {
        "clean": png.encode(rendered.clean),
        "degraded": png.encode(rendered.degraded),
        "severity": _severity_png(to_codes(rendered.severity)),
        "record": record.model_dump_json().encode(),
    }


def _severity_png(bands: NDArray[np.uint8]) -> bytes:
    # A recipe whose nodes all sat out has no bands, but a PNG needs a row: one band of zeros stands in.
    return png.encode(bands.reshape(-1, bands.shape[-1]) if len(bands) else np.zeros(bands.shape[1:], np.uint8))
