"""The test sets of ``evaluate.testsets``: judged each under its own protocol, resumable, beside the shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from cea.data.testsets import find_sets
from cea.errors import DataError
from cea.evaluation.columns import IMAGES, MEANS, OPTIONAL_MEANS
from cea.evaluation.config import EvaluationConfig, JudgedSetConfig
from cea.evaluation.folder import Log, Method, announce, cases_to_judge, digest_of
from cea.evaluation.journal import Journal
from cea.evaluation.summary import summarise
from cea.evaluation.table import evaluate

TESTSET_IMAGES: dict[str, Any] = {"testset": pl.String, **IMAGES}
"""Columns of the per-image table of all test sets."""

KEPT = ("protocol", "images", *MEANS, *OPTIONAL_MEANS, "harm_rate", "identical", "check")
"""Keys of a summary that make sense for real pairs."""


def judge_testsets(
    method: Method, config: EvaluationConfig, state: Path, log: Log
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Judge ``method`` on every entry of ``config.testsets``.

    Rows of a killed run are kept in ``state`` under the digest of weights, protocol and files, so that it goes on where
    it was and never with rows of something else; they are removed when all is done.

    Returns:
        name -> means with ``protocol`` and ``sets.<set>``; and the per-image table (`TESTSET_IMAGES`).

    Raises:
        DataError: naming the entry; a missing folder, another layout, incomplete sets, files that do not fit.
    """
    summaries: dict[str, Any] = {}
    tables = [pl.DataFrame(schema=TESTSET_IMAGES)]
    for name, entry in config.testsets.items():
        images = _judge(name, entry, method, config, state, log)
        summaries[name] = summary_of(images)
        tables.append(images.select(pl.lit(name).alias("testset"), pl.all()))
    for journal in state.glob("benchmark-*.jsonl"):
        journal.unlink()
    return summaries, pl.concat(tables)


def summary_of(images: pl.DataFrame) -> dict[str, Any]:
    """Means over all images of an entry, and by set."""
    summary = summarise(images)
    return {key: summary[key] for key in KEPT if key in summary} | {"sets": summary["recipes"]}


def _judge(
    name: str, entry: JudgedSetConfig, method: Method, config: EvaluationConfig, state: Path, log: Log
) -> pl.DataFrame:
    own = config.model_copy(update={"protocol": entry.protocol})
    try:
        sets = find_sets(Path(entry.path), entry.layout, entry.pairs)
        announce(sets, log, entry.crop, skip_missing=entry.skip_missing)
        cases = cases_to_judge(sets, method, own, entry.crop)
        digest = digest_of(cases, method, own, entry.crop)
        journal = Journal(state / f"benchmark-{digest[:16]}.jsonl", digest)
        return evaluate(cases, method.restore, own, journal, progress=name).images
    except DataError as error:
        raise DataError(
            f"evaluate.testsets.{name}: {error.what}", expected=error.expected, remedy=error.remedy
        ) from error
