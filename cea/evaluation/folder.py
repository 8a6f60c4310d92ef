"""Judging a folder of test sets from start to end: find the sets, restore or read outputs, write the tables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cea.data.crops import Crop
from cea.data.judged import JudgedSet
from cea.data.layouts import Layout
from cea.data.leaks import check_leaks
from cea.data.testsets import check_complete, describe, find_sets
from cea.errors import DataError, InputError
from cea.evaluation.cases import Case
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.journal import Journal
from cea.evaluation.judge import PSNR_CAP
from cea.evaluation.summary import summarise, to_json
from cea.evaluation.table import Restore, evaluate
from cea.evaluation.testset import cases_of_sets, crop_line, with_outputs
from cea.io.images import write_bytes
from cea.io.outputs import count_left_out
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
        outlook: how long restoring these files takes, as a line for the user; None where it is not worth telling.
        name: of the weights, for people.
    """

    digest: str = ""
    restore: Restore | None = None
    outputs: Path | None = None
    outlook: Callable[[Iterable[Path]], str | None] = lambda _: None
    name: str = ""


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
        crop: which part of a target is wanted that is larger than its input.
    """

    data: Path
    out: Path
    train: Path | None = None
    skip_missing: bool = False
    layout: Layout = "auto"
    pairs: str | None = None
    crop: Crop = "known"


def judge_folder(job: FolderJob, method: Method, config: EvaluationConfig, log: Log) -> dict[str, Any]:
    """Judge ``method`` on every set in ``job.data``; the summary's ``recipes`` are the sets.

    What was found is told before anything is judged. A killed run goes on where it was. Images that cannot be judged
    are left out: the summary's ``left_out`` names them (sample id -> reason), ``images_found`` counts them in, and the
    rows of the others are kept, so that the next run judges only what was mended.

    Raises:
        DataError: nothing recognised, incomplete sets, leaks, missing outputs, or no image that can be judged.
    """
    sets = find_sets(job.data, job.layout, job.pairs)
    announce(sets, log, job.crop, skip_missing=job.skip_missing)
    if job.train is not None:
        check_leaks(_training_images(job.train), sets)
    if method.name:
        log(f"weights: {method.name}")
    expected = method.outlook(pair.degraded or pair.clean for each in sets for pair in each.pairs)
    if expected is not None:
        log(expected)
    journal = Journal(job.out / "journal.jsonl", _digest(_settings(method, config, job.crop)))
    cases = cases_to_judge(sets, method, config, job.crop)
    tables = evaluate(cases, method.restore, config, journal, progress="eval", leave_out=True)
    for name, reason in tables.skipped.items():
        log(f"{name} left out: {reason}")
    left_out = {name: str(error).removeprefix(f"{name}: ") for name, error in tables.left_out.items()}
    if tables.images.is_empty():
        raise none_judged(left_out, list(tables.left_out.values()), log)
    summary = summarise(tables.images, bins=tables.bins) | {"skipped": tables.skipped}
    summary["identical_inputs"] = int((tables.images["input_psnr"] >= PSNR_CAP).sum())
    summary |= {"crop": job.crop, "images_found": len(cases), "left_out": left_out}
    write_table(job.out / "images.parquet", tables.images)
    write_bytes(job.out / "summary.json", to_json(summary))
    if not left_out:
        journal.path.unlink(missing_ok=True)
    return summary


def none_judged(left_out: dict[str, str], errors: Sequence[InputError], log: Log) -> InputError:
    """The error where every image was left out, each of which is told: that of the image if there is but one."""
    if len(errors) == 1:
        return errors[0]
    for line in left_out_lines(left_out):
        log(line)
    first = errors[0]
    return DataError(
        f"none of {len(errors)} images could be judged: {first.what}", expected=first.expected, remedy=first.remedy
    )


def left_out_lines(left_out: dict[str, str]) -> list[str]:
    """A line for each image that was left out, with the reason."""
    return [f"left out: {name}: {reason}" for name, reason in left_out.items()]


def check_all_judged(data: Path, left_out: dict[str, str], found: int) -> None:
    """End with an error where images were left out.

    Raises:
        DataError: counting and naming them.
    """
    if left_out:
        names = ", ".join(list(left_out)[:3]) + (", ..." if len(left_out) > 3 else "")
        raise DataError(
            f"{data}: {count_left_out(len(left_out), found)}: {names}",
            expected="images that can be read, and inputs that fit their targets",
            remedy="replace or remove these files, and run the command again",
        )


def announce(sets: Sequence[JudgedSet], log: Log, crop: Crop, *, skip_missing: bool = False) -> None:
    """Tell what was found, before anything is judged.

    Raises:
        DataError: inputs without a target and not ``skip_missing``.
    """
    if not skip_missing:
        check_complete(sets)
    for test_set in sets:
        for line in describe(test_set):
            log(line)
        cropping = crop_line(test_set, crop)
        if cropping is not None:
            log(cropping)


def cases_to_judge(
    sets: Iterable[JudgedSet], method: Method, config: EvaluationConfig, crop: Crop = "known"
) -> list[Case]:
    """Every pair of ``sets``, with its output where ``method`` has some."""
    cases = cases_of_sets(sets, find_protocol(config.protocol), crop)
    return cases if method.outputs is None else with_outputs(cases, method.outputs)


def score_lines(summary: dict[str, Any]) -> list[str]:
    """The summary as a table of plain text: one line per set, the mean over images; how many are capped, or missing."""
    rows = [*summary["recipes"].items(), ("all images", summary)]
    width = max(len(name) for name, _ in rows)
    head = f"{'protocol ' + summary['protocol']:{width}}  images  PSNR in    out    gain   SSIM in   out"
    counts = {"input": summary["identical_inputs"], "output": summary["identical"]}
    capped = [
        f"{count} identical: {kind} equal to target, infinite PSNR counted as {PSNR_CAP:.0f} dB"
        for kind, count in counts.items()
        if count
    ]
    short = short_line(summary["images"], summary["images_found"])
    return [head, *(f"{name:{width}}{_scores(row)}" for name, row in rows), *capped, *short]


def short_line(judged: int, found: int) -> list[str]:
    """A line that says so where means are over fewer images than were found."""
    return [f"means are over {judged} of {found} images: {found - judged} left out"] if judged < found else []


def _scores(row: dict[str, Any]) -> str:
    before, after, gain = row["input_psnr"], row["output_psnr"], row["gain_psnr"]
    ssim = f"{row['input_ssim']:7.4f} {row['output_ssim']:.4f}"
    return f"  {row['images']:6d}  {before:7.2f} {after:6.2f}  {gain:+6.2f}   {ssim}"


def _training_images(train: Path) -> dict[str, Path]:
    if not train.exists():
        raise DataError(f"{train}: no such folder", expected="the images trained on", remedy="check the path")
    files = find_pictures(train).pictures if train.is_dir() else [train]
    return {str(path): path for path in files}


def digest_of(cases: Iterable[Case], method: Method, config: EvaluationConfig, crop: Crop) -> str:
    """Changes whenever a row of the journal could: with the method, the protocol, and any file's size or time."""
    facts = (f"{case.sample_id} {case.fingerprint}" for case in cases)
    return _digest([*_settings(method, config, crop), *facts])


def _settings(method: Method, config: EvaluationConfig, crop: Crop) -> list[str]:
    return [method.digest, str(method.outputs), config.protocol, str(config.check), str(config.lpips), crop]


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()
