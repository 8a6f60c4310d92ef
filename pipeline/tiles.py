"""tiles: with shard.store records, cut each clean tile once for all recipes; with pixels, leave empty folders."""

from __future__ import annotations

import logging
from argparse import Namespace

from cea.config import load, read_params
from cea.data.packing import ShardConfig, tiles_from
from cea.data.publishing import publish, store_of
from cea.data.tiling import write_tiles
from cea.degradations.engine.recipes import training_flags
from cea.types import SPLITS
from pipeline import stage


def main(paths: Namespace) -> None:
    """Read the records of all recipes of params.yaml; write the tiles of each split."""
    params = read_params()
    config = load(ShardConfig, params, "shard")
    names, stored = training_flags(params), config.store == "records"
    for other in sorted(path for path in paths.records.glob("*.parquet") if path.stem not in names):
        other.unlink()  # of a recipe that params.yaml has no more: DVC would take it for a change of this stage's input
        logging.info("removed %s: params.yaml has no such recipe any more", other)
    tables = [paths.records / f"{name}.parquet" for name in names]
    for split in SPLITS:
        records = tiles_from(tables, paths.clean, split) if stored else ()
        count = write_tiles(paths.tiles / split, records, paths.clean, config.samples_per_tar)
        store = store_of(config.upload, paths.tiles / split)
        if stored and store is not None:
            publish(paths.tiles / split, store)
        if stored:
            logging.info("%s: %d tiles", paths.tiles / split, count)


if __name__ == "__main__":
    stage.run(main, "clean", "records", "tiles")
