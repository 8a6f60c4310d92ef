"""How long the pipeline takes: what its stages took here last, else a few timed training steps. ``make repro`` asks."""

from __future__ import annotations

import sys
from pathlib import Path

from cea.config import load, read_params
from cea.errors import InputError
from cea.lineage import times
from cea.models.config import ModelSection
from cea.models.measure.matching import resolve
from cea.progress import clock
from cea.training.config import TrainConfig
from pipeline.preflight.estimate import STEPS, step_seconds


def line(root: Path) -> str:
    """One line for the user; nothing is run where the stages' times of the last run are known.

    Raises:
        InputError: ``params.yaml`` is wrong.
    """
    took = times.known((path.stem for path in (root / times.FOLDER).glob("*.json")), root)
    if {"train", "evaluate"} <= took.keys():
        rest = sum(seconds for name, seconds in took.items() if name not in ("train", "evaluate"))
        return (
            f"when they last ran here, training took {clock(took['train'])}, evaluation {clock(took['evaluate'])}, "
            f"all other stages {clock(rest)}; what has not changed does not run again"
        )
    params = read_params(root / "params.yaml")
    config, model = load(TrainConfig, params, "train"), resolve(load(ModelSection, params, "model"))
    each = step_seconds(model, config)
    return (
        f"training: about {clock(each * config.steps)} for {config.steps} steps ({each:.2f} s each, median of "
        f"{STEPS} timed here), if it has to run; data before it, validation and evaluation come on top"
    )


if __name__ == "__main__":
    try:
        sys.stdout.write(line(Path.cwd()) + "\n")
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
