"""Check params.yaml to the last key, and that dvc.yaml is in step with it; ``make repro`` does so before it starts.

Each stage validates its own section again; this finds a wrong value of a late stage before the early ones have run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cea.config import Config, load, parse, read_params, section
from cea.data.ingest import IngestConfig
from cea.data.packing import ShardConfig
from cea.data.records import SynthesizeConfig
from cea.degradations.engine.recipes import RecipeConfig
from cea.errors import ConfigError, InputError
from cea.evaluation.config import EvaluationConfig, check_folders
from cea.lineage.tracking import TrackingConfig
from cea.models.config import ModelSection
from cea.report.config import ReportConfig
from cea.training.config import TrainConfig
from pipeline.wire import wired

SECTIONS: dict[str, type[Config]] = {
    "ingest": IngestConfig,
    "synthesize": SynthesizeConfig,
    "shard": ShardConfig,
    "model": ModelSection,
    "train": TrainConfig,
    "evaluate": EvaluationConfig,
    "report": ReportConfig,
    "tracking": TrackingConfig,
}


def check(root: Path) -> None:
    """Raise a ConfigError for the first thing that is wrong under ``root``."""
    params = read_params(root / "params.yaml")
    for key, model in SECTIONS.items():
        load(model, params, key)
    recipes: dict[str, RecipeConfig] = {}
    for name, recipe in section(params, "recipes").items():
        recipes[name] = parse(RecipeConfig, recipe, f"recipes.{name}")
    if not any(recipe.training for recipe in recipes.values()):
        raise ConfigError(
            "every recipe says training: false",
            expected="at least one to train on",
            remedy="remove one training: false",
        )
    check_folders(load(EvaluationConfig, params, "evaluate"), root)
    if wired(root) != (root / "dvc.yaml").read_text(encoding="utf-8"):
        raise ConfigError(
            "dvc.yaml is out of step with params.yaml or the imports",
            expected="what 'make wire' writes",
            remedy="run 'make wire'",
        )


if __name__ == "__main__":
    try:
        check(Path.cwd())
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
