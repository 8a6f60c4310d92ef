"""ingest: take in clean images, refuse what cannot be used by name, split by content."""

from __future__ import annotations

import logging
from argparse import Namespace

from cea.config import load, read_params
from cea.data.cluster import cluster_of
from cea.data.ingest import IngestConfig, ingest
from pipeline import stage


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


if __name__ == "__main__":
    stage.run(main, "clean")
