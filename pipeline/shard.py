"""shard: render the records of one recipe into WebDataset tars, one folder per split."""

from __future__ import annotations

import logging
from argparse import Namespace
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from cea.config import load, read_params
from cea.data.cluster import connected
from cea.data.packing import Selection, ShardConfig, select_from, write_empty, write_shards
from cea.data.publishing import publish, store_of
from cea.data.records import record_parts
from cea.types import SPLITS
from pipeline import stage


def main(paths: Namespace) -> None:
    """Render every split of one recipe; one that is only tested on leaves empty training shards."""
    config = load(ShardConfig, read_params(), "shard")
    only_tested = {split for part in record_parts(paths.records, ["split"]) for split in part["split"]} == {"test"}
    with cluster(config):
        for split in SPLITS:
            folder: Path = getattr(paths, split)
            if only_tested and split != "test":
                write_empty(folder)
            else:
                samples = write(folder, select_from(paths.records, paths.clean, split), paths.clean, config)
                logging.info("%s: %d samples", folder, samples)
            store = store_of(config.upload, folder)
            if store is not None:
                publish(folder, store)


def cluster(config: ShardConfig) -> AbstractContextManager[None]:
    """One connection for all splits; none for this machine's processes."""
    if config.engine == "ray":
        return connected(config.ray, what="shard.engine: ray", workers=stage.workers())
    return nullcontext()


def write(folder: Path, records: Selection, clean: Path, config: ShardConfig) -> int:
    """One folder of shards by the engine of params.yaml; how many samples it has."""
    if config.engine == "ray":
        from cea.data.on_ray import write_shards_on_ray

        return write_shards_on_ray(folder, records, clean, config, workers=stage.workers())
    return write_shards(folder, records, clean, config, workers=stage.workers())


if __name__ == "__main__":
    stage.run(main, "clean", "records", *SPLITS)
