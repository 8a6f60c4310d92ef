"""ingest: take in clean images, refuse what cannot be used by name, split by content."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Iterator

import polars as pl

from cea.config import load, read_params
from cea.data.cluster import cluster_of
from cea.data.ingest import IngestConfig, ingest
from pipeline import stage

FEW = 5
"""Photographs to validate or test on, below which a warning is due."""

SHOWN = 8
"""Names of held-out photographs that are printed."""


def main(paths: Namespace) -> None:
    """Write the clean images and their table, and say what was taken and what was not."""
    params = read_params()
    config = load(IngestConfig, params, "ingest")
    report = ingest(paths.clean, config, workers=stage.workers(), cluster=cluster_of(params))
    for name, reason in report.refused:
        logging.info("left out: %s (%s)", name, reason)
    for names in report.grouped:
        logging.info("near duplicates, kept in one split: %s", ", ".join(names))
    for split, kind, count in report.table.group_by("split", "kind").len().sort("split", "kind").rows():
        logging.info("%-5s %4d %s", split, count, kind)
    for line in held_out_lines(report.table):
        logging.info("%s", line)


def held_out_lines(table: pl.DataFrame) -> Iterator[str]:
    """Which photographs are held out; a warning where they are so few that figures over them say little."""
    photographs = table.filter(pl.col("kind") == "photograph")
    for split, use in (
        ("val", "the best step is chosen on them"),
        ("test", "every figure of the report is a mean over them"),
    ):
        names = photographs.filter(pl.col("split") == split)["id"].to_list()
        if names:
            yield f"{split}: {', '.join(names[:SHOWN])}" + (f" and {len(names) - SHOWN} more" if names[SHOWN:] else "")
        if len(names) < FEW:
            yield (
                f"warning: {len(names)} photograph{'s' * (len(names) != 1)} in {split}, and {use}; expected {FEW} or "
                f"more; add photographs, raise ingest.split.{split}, or put some into a folder {split} of the source"
            )


if __name__ == "__main__":
    stage.run(main, "clean")
