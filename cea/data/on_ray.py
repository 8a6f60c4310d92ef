"""The shards of one folder as tasks on a Ray cluster: one task per tar, the same bytes as `packing.write_shards`.

A task gets rows of the records table and paths, renders, and puts a whole tar into its place, then a file of facts
about it: what it was made from, its digest, its rows of the index. A task that finds a whole tar made from the same
rows by the same code renders nothing, so whatever was finished before a kill stays. The driver holds the rows of the
tars that are being made, no pixels.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from cea.data.archive import TarWriter
from cea.data.cluster import Died, at_home, code_digest, connected, of_store, tasks
from cea.data.packing import (
    Selection,
    ShardConfig,
    as_selection,
    parts_of,
    render_sample,
    schema_of,
    write_sample,
)
from cea.data.places import PARTS, Place, Shared, facts_name
from cea.data.publishing import LEFT_OUT, begin, fetch, store_of
from cea.data.shards import Part, write_index_rows
from cea.errors import DataError
from cea.io.folders import atomic_folder
from cea.io.images import write_bytes
from cea.io.sequences import in_parts
from cea.progress import Progress

_HOPELESS = 8
"""Tars that fail with their workers before any succeeds: then it is not the images."""


@dataclass(frozen=True)
class TarJob:
    """One tar for a worker to make.

    Attributes:
        name: e.g. ``000012.tar``.
        rows: of the records table, as `packing.select` gives them.
        clean_folder: as every node sees it.
        place: where the tar goes.
        home: the project's folder, where plug-ins lie.
        code: digest of the code that the driver runs.
        parts: members that are kept of each sample.
    """

    name: str
    rows: tuple[dict[str, Any], ...]
    clean_folder: Path
    place: Place
    home: Path
    code: str
    parts: tuple[Part, ...]


def write_shards_on_ray(
    folder: Path, records: pl.DataFrame | Selection, clean_folder: Path, config: ShardConfig, *, workers: int = 1
) -> int:
    """`packing.write_shards` on the cluster of ``config.ray``: the same arguments, the same bytes, the same index.

    What is finished when this process is killed, or when a sample is refused, is kept beside ``folder`` (or in the
    store) and not rendered again. With ``config.upload`` workers put the tars into that store, and they are copied to
    ``folder``; `publishing.publish` then puts the index beside them.

    Args:
        folder: e.g. ``data/shards/train/haze``; without ``config.upload`` a place that every node sees.
        records: as in `packing.write_shards`.
        clean_folder: a place that every node sees under the same absolute path.
        config: packing, cluster, store.
        workers: processors of a cluster that is started for this, where no address is given.

    Raises:
        DataError: as `packing.write_shards`; a sample that ends its worker every time, by name; a node with other code.
        ConfigError: Ray is not installed, or no cluster answers.
    """
    selection = as_selection(records, folder)
    with (
        connected(config.ray, what="shard.engine: ray", workers=workers),
        of_store(),
        atomic_folder(folder, resume=True) as partial,
    ):
        partial = partial.resolve()
        _tidy(partial)
        store = store_of(config.upload, folder)
        if store is not None:
            begin(store)
        place = store or Shared(partial)
        driver = _Driver(folder, config, place)
        jobs = _jobs(selection, clean_folder.resolve(), place, config)
        driver.run(jobs, -(-selection.count // config.samples_per_tar))
        if store is not None:
            fetch(store, partial, driver.tars)
        driver.expect_tars()
        _remove_others(partial, driver)
        count = write_index_rows(partial, driver.rows(), schema_of(config))
        shutil.rmtree(partial / PARTS)
    return count


def make_tar(job: TarJob) -> tuple[bytes, bool]:
    """Make one tar, in a worker; a pure function of the job apart from the files written, safe to run twice at once.

    Returns:
        The facts of the tar as JSON, and whether it was there already.
    """
    at_home(job.home, job.code)
    key = hashlib.sha256(json.dumps([job.code, job.parts, job.rows], sort_keys=True).encode()).hexdigest()
    kept = job.place.read(facts_name(job.name))
    if kept is not None and _still_holds(job, key, kept):
        return kept, True
    with job.place.writing(job.name) as path:
        with TarWriter(path) as tar:
            rows = [write_sample(tar, job.name, render_sample(job.clean_folder, row, job.parts)) for row in job.rows]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        facts = {"made_from": key, "size": path.stat().st_size, "sha256": digest, "rows": rows}
    told = json.dumps(facts).encode()
    job.place.write(facts_name(job.name), told)
    return told, False


def try_sample(job: TarJob) -> None:
    """Render the only sample of ``job`` in a worker and keep nothing: does it end the worker by itself?"""
    at_home(job.home, job.code)
    render_sample(job.clean_folder, job.rows[0], job.parts)


def _still_holds(job: TarJob, key: str, told: bytes) -> bool:
    with suppress(ValueError, KeyError, TypeError):
        facts = json.loads(told)
        return facts["made_from"] == key and job.place.holds(job.name, facts["size"], facts["sha256"])
    return False


def _jobs(records: Selection, clean_folder: Path, place: Place, config: ShardConfig) -> Iterator[TarJob]:
    home = Path.cwd()
    code = code_digest(home)
    for number, rows in enumerate(in_parts(records.rows(), config.samples_per_tar)):
        yield TarJob(f"{number:06d}.tar", tuple(rows), clean_folder, place, home, code, parts_of(config))


class _Driver:
    """Has all tars of a folder made, finds out which samples end their workers, and keeps count."""

    def __init__(self, folder: Path, config: ShardConfig, place: Place) -> None:
        self.tars: dict[str, tuple[int, str]] = {}
        """Name -> size in bytes and SHA-256."""
        self.left_out: list[dict[str, str]] = []
        self._folder, self._config, self._place = folder, config, place
        self._kept = self._again = 0

    def run(self, jobs: Iterator[TarJob], total: int) -> None:
        """Make every tar; then judge those whose workers died, when all others are there.

        Raises:
            DataError: samples that end their workers by themselves, and may not be left out; or nothing can be made.
        """
        suspects: list[tuple[TarJob, Died]] = []
        with Progress(f"{self._folder} on ray", "tar") as progress:
            for job, outcome in tasks(make_tar, jobs, self._config.ray, retried=self._tell):
                if isinstance(outcome, Died):
                    suspects.append((job, outcome))
                    self._check_hope(suspects)
                else:
                    self._take(job, *outcome)
                    progress.step(len(self.tars), total)
        guilty = [(job, died, self._guilty(job)) for job, died in suspects]
        self._check_guilty([row for _, _, rows in guilty for row in rows])
        for job, died, rows in guilty:
            self._make_without(job, rows, died)
        counts = len(self.tars), self._kept, self._again
        logging.info("%s on ray: %d tars, %d kept from before, %d tries again", self._folder, *counts)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Those of the index of all tars, in the order of the records, out of the facts about each."""
        for name in sorted(self.tars, key=lambda name: (len(name), name)):
            yield from json.loads(self._place.read(facts_name(name)) or b"")["rows"]

    def expect_tars(self) -> None:
        """Refuse to go on without any."""
        if not self.tars:
            raise DataError(
                f"{self._folder}: every sample ends its worker",
                expected="samples that render",
                remedy="look at the cluster's logs and memory (ray status)",
            )

    def _take(self, job: TarJob, told: bytes, kept: bool) -> None:
        facts = json.loads(told)
        self.tars[job.name] = facts["size"], facts["sha256"]
        self._kept += kept

    def _tell(self, cause: str) -> None:
        self._again += 1
        logging.debug("%s: tried again: %s", self._folder, cause)

    def _check_hope(self, suspects: Sequence[tuple[TarJob, Died]]) -> None:
        if len(suspects) >= _HOPELESS and not self.tars:
            died = suspects[-1][1]
            raise DataError(
                f"{self._folder}: no task of {len(suspects)} came back in {died.tries} tries each ({died.cause})",
                expected="workers that live",
                remedy="look at the cluster's logs and memory (ray status); more shard.ray.num_cpus: fewer at once",
            )

    def _guilty(self, job: TarJob) -> list[dict[str, Any]]:
        """Rows whose worker dies each time when they are rendered alone."""
        alone = (replace(job, rows=(row,)) for row in job.rows)
        tried = tasks(try_sample, alone, self._config.ray, retried=self._tell)
        found = {single.rows[0]["sample_id"] for single, outcome in tried if isinstance(outcome, Died)}
        return [row for row in job.rows if row["sample_id"] in found]

    def _check_guilty(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows and self._config.unrenderable == "refuse":
            named = "; ".join(f"{row['sample_id']} of clean image {row['clean_id']}" for row in rows[:5])
            more = f"; and {len(rows) - 5} more" if len(rows) > 5 else ""
            raise DataError(
                f"{self._folder}: {len(rows)} samples end their worker in each of {self._config.ray.retries + 1} tries:"
                f" {named}{more}",
                expected="samples that render",
                remedy="remove these photographs, give tasks more memory (shard.ray.num_cpus), or leave them out"
                " (shard.unrenderable: skip); the other tars are kept for the next run",
            )

    def _make_without(self, job: TarJob, guilty: Sequence[dict[str, Any]], died: Died) -> None:
        """Make a tar of the samples that are not ``guilty``."""
        for row in guilty:
            logging.info("left out: sample %s of clean image %s (%s)", row["sample_id"], row["clean_id"], died.cause)
            self.left_out.append({name: row[name] for name in ("sample_id", "clean_id")} | {"reason": died.cause})
        rest = replace(job, rows=tuple(row for row in job.rows if row not in guilty))
        for _, outcome in tasks(make_tar, [rest] if rest.rows else [], self._config.ray, retried=self._tell):
            if isinstance(outcome, Died):
                raise DataError(
                    f"{self._folder / job.name}: its worker dies ({outcome.cause}), and with no single sample of it",
                    expected="a worker that lives",
                    remedy="give tasks more memory (more shard.ray.num_cpus gives fewer at once), or make smaller tars",
                )
            self._take(rest, *outcome)


def _tidy(partial: Path) -> None:
    """Keep tars and facts of an earlier run, and nothing that it left half-written."""
    (partial / PARTS).mkdir(exist_ok=True)
    for path in [*partial.iterdir(), *(partial / PARTS).iterdir()]:
        if path.is_file() and path.suffix not in (".tar", ".json"):
            path.unlink()


def _remove_others(partial: Path, driver: _Driver) -> None:
    """Leave only the tars of the index, the facts about them, and the list of what is in none."""
    for path in partial.iterdir():
        if path.name not in {*driver.tars, PARTS}:
            path.unlink()
    if driver.left_out:
        write_bytes(partial / LEFT_OUT, (json.dumps(driver.left_out, indent=1) + "\n").encode())
