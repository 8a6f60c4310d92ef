"""Judging a folder of test sets from start to end: find the sets, restore or read outputs, write the tables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cea.data.judged import JudgedSet
from cea.data.layouts import Layout
from cea.data.leaks import check_leaks
from cea.data.testsets import check_complete, describe, find_sets
from cea.errors import DataError
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.journal import Journal
from cea.evaluation.judge import PSNR_CAP
from cea.evaluation.summary import summarise, to_json
from cea.evaluation.table import Evaluation, Restore, evaluate
from cea.evaluation.testset import cases_of_sets, with_outputs
from cea.io.images import write_bytes
from cea.io.tables import write_table
from cea.io.walk import find_pictures
from cea.metrics.protocol import find_protocol

Log = Callable[[str], None]
"""Takes a line for the user."""


@dataclass(frozen=True)
class Method:
    """What is judged: a restorer, or a folder of outputs that another method wrote.

    Attributes:
        digest: SHA-256 of the weights; empty for outputs.
        restore: None where ``outputs`` is given.
        outputs: see `cea.evaluation.testset.with_outputs`.
    """

    digest: str = ""
    restore: Restore | None = None
    outputs: Path | None = None


@dataclass(frozen=True)
class FolderJob:
    """Which sets to judge, and where the results go.

    Attributes:
        data: folder of test sets (`cea.data.testsets.find_sets`).
        out: folder for ``summary.json``, ``images.parquet`` and, until these are there, ``journal.jsonl``.
        train: images trained on, or their folder; refused where they occur in a test set. None skips the check.
        skip_missing: whether to judge sets whose targets are incomplete.
        layout: which one to look for.
        pairs: how files pair where no known rule does (`cea.data.stated.stated_sets`).
    """

    data: Path
    out: Path
    train: Path | None = None
    skip_missing: bool = False
    layout: Layout = "auto"
    pairs: str | None = None


def judge_folder(job: FolderJob, method: Method, config: EvaluationConfig, log: Log) -> dict[str, Any]:
    """Judge ``method`` on every set in ``job.data``; the summary's ``recipes`` are the sets.

    What was found is told before anything is judged. A killed run goes on where it was.

    Raises:
        DataError: nothing recognised, incomplete sets, leaks, missing outputs, files that do not fit together.
    """
    sets = find_sets(job.data, job.layout, job.pairs)
    announce(sets, log, skip_missing=job.skip_missing)
    if job.train is not None:
        check_leaks(_training_images(job.train), sets)
    journal = Journal(job.out / "journal.jsonl", digest_of(sets, method, config))
    tables = judge_sets(sets, method, config, journal)
    for name, reason in tables.skipped.items():
        log(f"{name} left out: {reason}")
    summary = summarise(tables.images, bins=tables.bins) | {"skipped": tables.skipped}
    summary["identical_inputs"] = int((tables.images["input_psnr"] >= PSNR_CAP).sum())
    write_table(job.out / "images.parquet", tables.images)
    write_bytes(job.out / "summary.json", to_json(summary))
    journal.path.unlink(missing_ok=True)
    return summary


def announce(sets: Sequence[JudgedSet], log: Log, *, skip_missing: bool = False) -> None:
    """Tell what was found, before anything is judged.

    Raises:
        DataError: inputs without a target and not ``skip_missing``.
    """
    if not skip_missing:
        check_complete(sets)
    for test_set in sets:
        for line in describe(test_set):
            log(line)


def judge_sets(
    sets: Sequence[JudgedSet], method: Method, config: EvaluationConfig, journal: Journal | None = None
) -> Evaluation:
    """Judge ``method`` on every pair of ``sets``, with a progress bar; ``journal`` makes it go on where it was."""
    cases = cases_of_sets(sets, find_protocol(config.protocol))
    if method.outputs is not None:
        cases = with_outputs(cases, method.outputs)
    return evaluate(cases, method.restore, config, journal, progress=True)


def score_lines(summary: dict[str, Any]) -> list[str]:
    """The summary as a table of plain text: one line per set, then the mean over images; then how many are capped."""
    rows = [*summary["recipes"].items(), ("all images", summary)]
    width = max(len(name) for name, _ in rows)
    head = f"{'protocol ' + summary['protocol']:{width}}  images  PSNR in    out    gain   SSIM in   out"
    counts = {"input": summary["identical_inputs"], "output": summary["identical"]}
    capped = [
        f"{count} identical: {kind} equal to target, infinite PSNR counted as {PSNR_CAP:.0f} dB"
        for kind, count in counts.items()
        if count
    ]
    return [head, *(f"{name:{width}}{_scores(row)}" for name, row in rows), *capped]


def _scores(row: dict[str, Any]) -> str:
    before, after, gain = row["input_psnr"], row["output_psnr"], row["gain_psnr"]
    ssim = f"{row['input_ssim']:7.4f} {row['output_ssim']:.4f}"
    return f"  {row['images']:6d}  {before:7.2f} {after:6.2f}  {gain:+6.2f}   {ssim}"


def _training_images(train: Path) -> dict[str, Path]:
    if not train.exists():
        raise DataError(f"{train}: no such folder", expected="the images trained on", remedy="check the path")
    files = find_pictures(train).pictures if train.is_dir() else [train]
    return {str(path): path for path in files}


def digest_of(sets: Iterable[JudgedSet], method: Method, config: EvaluationConfig) -> str:
    """Changes whenever a row of the journal could: with the method, the protocol, and any file's size or time."""
    parts = [method.digest, str(method.outputs), config.protocol, str(config.check), str(config.lpips)]
    for test_set in sets:
        for pair in test_set.pairs:
            for path in filter(None, (pair.degraded, pair.clean)):
                facts = path.stat()
                parts.append(f"{test_set.name} {path.resolve()} {facts.st_size} {facts.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()
