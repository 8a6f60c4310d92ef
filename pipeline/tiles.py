"""tiles: with shard.store records, cut each clean tile once for all recipes; with pixels, leave empty folders."""

from __future__ import annotations

import logging
from argparse import Namespace

import polars as pl

from cea.config import load, read_params
from cea.data.clean import read_clean
from cea.data.packing import ShardConfig, select
from cea.data.publishing import publish, store_of
from cea.data.records import read_records
from cea.data.tiling import write_tiles
from cea.degradations.engine.recipes import training_flags
from cea.types import SPLITS
from pipeline import stage


def main(paths: Namespace) -> None:
    """Read the records of all recipes of params.yaml; write the tiles of each split."""
    params = read_params()
    config = load(ShardConfig, params, "shard")
    clean, names = read_clean(paths.clean), training_flags(params)
    for other in sorted(path for path in paths.records.glob("*.parquet") if path.stem not in names):
        other.unlink()  # of a recipe that params.yaml has no more: DVC would take it for a change of this stage's input
        logging.info("removed %s: params.yaml has no such recipe any more", other)
    tables = pl.concat(read_records(paths.records / f"{name}.parquet") for name in names)
    for split in SPLITS:
        records = select(tables if config.store == "records" else tables.head(0), clean, split)
        index = write_tiles(paths.tiles / split, records, paths.clean, config.samples_per_tar)
        store = store_of(config.upload, paths.tiles / split)
        if config.store == "records" and store is not None:
            publish(paths.tiles / split, store)
        if config.store == "records":
            logging.info("%s: %d tiles", paths.tiles / split, len(index))


if __name__ == "__main__":
    stage.run(main, "clean", "records", "tiles")
