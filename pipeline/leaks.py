"""leaks: refuse to train on photographs that occur in ``evaluate.testsets``."""

from __future__ import annotations

import logging
from argparse import Namespace
from pathlib import Path

import polars as pl

from cea.config import load, read_params
from cea.data.clean import clean_parts
from cea.data.leaks import check_leaks
from cea.data.testsets import find_sets, remove_lists
from cea.evaluation.config import EvaluationConfig
from cea.io.images import write_bytes
from pipeline import stage

VERDICT = b'{"leaks": 0}\n'
"""Does not mention the test sets, so that a further one which shares no picture re-runs no training."""


def main(paths: Namespace) -> None:
    """Compare every photograph that is trained or validated on with the images of the test sets.

    Lists of sets that params.yaml names no more go first: in a clone they would not be there, and all differ.
    """
    config = load(EvaluationConfig, read_params(), "evaluate")
    benchmarks = config.testsets
    for folder, names in ((paths.testsets, benchmarks), (paths.testsets / "photographs", config.photographs)):
        for name in remove_lists(folder, names):
            logging.info("removed the list of %s: params.yaml has no such set any more", name)
    if benchmarks:
        sets = [one for entry in benchmarks.values() for one in find_sets(Path(entry.path), entry.layout, entry.pairs)]
        used = (pl.col("split") != "test") & (pl.col("kind") == "photograph")
        parts = clean_parts(paths.clean, ("id", "file", "split", "kind"))
        train = {name: paths.clean / file for part in parts for name, file, *_ in part.filter(used).iter_rows()}
        check_leaks(train, sets)
        tests = sum(len(one.pairs) for one in sets)
        logging.info("none of %d photographs occurs among %d test images of the benchmarks", len(train), tests)
    write_bytes(paths.verdict, VERDICT)


if __name__ == "__main__":
    stage.run(main, "clean", "testsets", "verdict")
