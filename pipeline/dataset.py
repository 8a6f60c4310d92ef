"""dataset: one list per split of the shards it consists of, so that training depends on its own recipes and no others.

DVC takes no list from params.yaml as dependencies. This stage depends on the folder of all shards instead, and writes
lists that change only where the data of that split do.
"""

from __future__ import annotations

import logging
from argparse import Namespace

from cea.config import read_params, section
from cea.data.dataset import list_split, remove_others, write_split
from cea.degradations.engine.recipes import training_flags
from cea.types import SPLITS
from pipeline import stage


def main(paths: Namespace) -> None:
    """List the shards of each split; what removed recipes have left behind goes (DVC's cache still has it)."""
    params = read_params()
    seen, learned = training_flags(params), bool(section(params, "model").get("severity"))
    for split in SPLITS:
        folder = paths.shards / split
        for name in remove_others(folder, seen):
            logging.info("removed %s: params.yaml has no such recipe any more", folder / name)
        names = {name: trained for name, trained in seen.items() if trained or split == "test"}
        write_split(getattr(paths, split), list_split(folder, names, labels=split == "test" or learned))


if __name__ == "__main__":
    stage.run(main, "shards", *SPLITS)
