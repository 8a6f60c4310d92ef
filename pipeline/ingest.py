"""ingest: take in clean images, refuse what cannot be used by name, split by content."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import polars as pl

from cea.config import load, read_params
from cea.data.clean import clean_parts
from cea.data.cluster import cluster_of
from cea.data.ingest import IngestConfig, Report, ingest
from cea.types import Split
from pipeline import stage

FEW = 5
"""Photographs to validate or test on, below which a warning is due."""

SHOWN = 8
"""Names of held-out photographs that are printed."""

USES: dict[Split, str] = {
    "val": "the best step is chosen on them",
    "test": "every figure of the report is a mean over them",
}
"""What photographs are held out for."""


def main(paths: Namespace) -> None:
    """Write the clean images and their table, and say what was taken and what was not."""
    params = read_params()
    config = load(IngestConfig, params, "ingest")
    report = ingest(paths.clean, config, workers=stage.workers(), cluster=cluster_of(params))
    for name, reason in report.refused:
        logging.info("left out: %s (%s)", name, reason)
    for names in report.grouped:
        logging.info("near duplicates, kept in one split: %s", ", ".join(names))
    for (split, kind), count in report.images.items():
        logging.info("%-5s %4d %s", split, count, kind)
    for line in held_out_lines(report, paths.clean):
        logging.info("%s", line)


def held_out_lines(report: Report, clean: Path) -> Iterator[str]:
    """Which photographs are held out; a warning where they are so few that figures over them say little."""
    for split, use in USES.items():
        count = report.images.get((split, "photograph"), 0)
        held = (pl.col("split") == split) & (pl.col("kind") == "photograph")
        parts = (part.filter(held)["id"] for part in clean_parts(clean, ("id", "split", "kind")))
        names = list(islice(chain.from_iterable(parts), SHOWN))
        if names:
            yield f"{split}: {', '.join(names)}" + (f" and {count - SHOWN} more" if count > SHOWN else "")
        if count < FEW:
            yield (
                f"warning: {count} photograph{'s' * (count != 1)} in {split}, and {use}; expected {FEW} or "
                f"more; add photographs, raise ingest.split.{split}, or put some into a folder {split} of the source"
            )


if __name__ == "__main__":
    stage.run(main, "clean")
