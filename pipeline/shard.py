"""shard: render the records of one recipe into WebDataset tars, one folder per split."""

from __future__ import annotations

import logging
from argparse import Namespace

from cea.config import load, read_params
from cea.data.clean import read_clean
from cea.data.packing import ShardConfig, select, write_empty, write_shards
from cea.data.records import read_records
from cea.types import SPLITS
from pipeline import stage


def main(paths: Namespace) -> None:
    """Render every split of one recipe; one that is only tested on leaves empty training shards."""
    config = load(ShardConfig, read_params(), "shard")
    records = read_records(paths.records)
    clean = read_clean(paths.clean)
    only_tested = set(records["split"]) == {"test"}
    for split in SPLITS:
        if only_tested and split != "test":
            write_empty(getattr(paths, split))
            continue
        index = write_shards(
            getattr(paths, split), select(records, clean, split), paths.clean, config, workers=stage.workers()
        )
        logging.info("%s: %d samples", getattr(paths, split), len(index))


if __name__ == "__main__":
    stage.run(main, "clean", "records", *SPLITS)
