"""Check params.yaml to the last key; ``make repro`` does so before it starts.

Each stage validates its own section again; this finds a wrong value of a late stage before the early ones have run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cea.config import Config, load, read_params
from cea.data.ingest import IngestConfig
from cea.data.packing import ShardConfig
from cea.data.records import SynthesizeConfig
from cea.degradations.engine.recipes import read_recipes
from cea.errors import ConfigError, InputError
from cea.evaluation.config import EvaluationConfig, check_folders
from cea.lineage.tracking import TrackingConfig
from cea.models.config import ModelSection
from cea.models.measure.config import CostConfig
from cea.report.config import ReportConfig
from cea.training.config import TrainConfig

SECTIONS: dict[str, type[Config]] = {
    "ingest": IngestConfig,
    "synthesize": SynthesizeConfig,
    "shard": ShardConfig,
    "model": ModelSection,
    "train": TrainConfig,
    "cost": CostConfig,
    "evaluate": EvaluationConfig,
    "report": ReportConfig,
    "tracking": TrackingConfig,
}


def check(root: Path) -> None:
    """Raise a ConfigError for the first thing that is wrong under ``root``."""
    params = read_params(root / "params.yaml")
    for key, model in SECTIONS.items():
        load(model, params, key)
    if not any(recipe.training for recipe in read_recipes(params).values()):
        raise ConfigError(
            "every recipe says training: false",
            expected="at least one to train on",
            remedy="remove one training: false",
        )
    check_folders(load(EvaluationConfig, params, "evaluate"), root)


if __name__ == "__main__":
    try:
        check(Path.cwd())
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
