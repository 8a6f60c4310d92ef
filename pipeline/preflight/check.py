"""Check params.yaml to the last key: ``make repro`` does so before it starts, stages as they start.

A wrong value of a late stage is found before an early one has worked for nothing. Stage ``code`` checks before any data
are touched; ``train``, ``evaluate`` and ``report`` check as they start (``--running``).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from cea.config import Config, load, read_params, section
from cea.data.ingest import IngestConfig, check_sources
from cea.data.labels import check_recorded
from cea.data.packing import ShardConfig
from cea.data.records import SynthesizeConfig
from cea.degradations.contract.registry import FAMILIES
from cea.degradations.engine.recipes import members, plan, read_recipes
from cea.errors import ConfigError, DataError, InputError, foreign
from cea.evaluation.config import EvaluationConfig, check_folders
from cea.extras import require
from cea.lineage.facts import git
from cea.lineage.tracking import TrackingConfig
from cea.models.adapters.registry import ADAPTERS
from cea.models.blocks.registry import BLOCKS
from cea.models.config import ModelSection
from cea.models.measure.config import CostConfig
from cea.registry import Registry
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


def check(root: Path, *, photographs: bool = True) -> None:
    """Raise a ConfigError or DataError for the first thing that is wrong under ``root``.

    Args:
        root: the project.
        photographs: whether they have to be there, unless stage ``ingest`` is frozen.
    """
    params = read_params(root / "params.yaml")
    check_seed(params)
    FAMILIES.check_plugins()
    recipes = read_recipes(params)
    for key, kind in SECTIONS.items():
        load(kind, params, key)
    if not any(recipe.training for recipe in recipes.values()):
        raise ConfigError(
            "every recipe says training: false",
            expected="at least one to train on",
            remedy="remove one training: false",
        )
    if load(ShardConfig, params, "shard").engine == "ray":
        require("ray", "shard.engine: ray")
    model = load(ModelSection, params, "model")
    check_component("model.adapter", ADAPTERS, model.adapter)
    check_component("model.block", BLOCKS, model.block)
    if model.equal_to is not None:
        check_component("model.equal_to", ADAPTERS, model.equal_to)
    trained = (recipe for recipe in recipes.values() if recipe.training)
    check_recorded(model.severity, (node.label for recipe in trained for node in members(plan(recipe))))
    wanted = photographs and not ingest_is_frozen(root)
    check_sources(load(IngestConfig, params, "ingest"), root, photographs=wanted)
    check_folders(load(EvaluationConfig, params, "evaluate"), root)


def ingest_is_frozen(root: Path) -> bool:
    """Whether somebody goes on from data/clean as it is: ``frozen: true`` in dvc.yaml."""
    with foreign(root / "dvc.yaml", expected="the pipeline", remedy="git checkout dvc.yaml"):
        stages = YAML(typ="safe", pure=True).load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        return bool(stages["ingest"].get("frozen"))


def check_seed(params: Mapping[str, Any]) -> None:
    """Refuse a seed that is no whole number."""
    seed = section(params, "seed")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise ConfigError(f"seed = {seed!r}", expected="a whole number from 0 to 2^63 - 1", remedy="for example 2026")


def check_component(key: str, registry: Registry[Any], name: str) -> None:
    """Refuse the ``name`` under ``key`` if ``registry`` has none such, or an address there that cannot be imported."""
    try:
        if ":" in name:
            registry[name]
        else:
            registry.target(name)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error.what}", expected=error.expected, remedy=error.remedy) from None


RESTORED = "nothing is lost: with the values of before in params.yaml, 'dvc repro' brings the last result back"
"""DVC removes what a stage is going to write before it starts it, and keeps the runs of each stage in its cache."""


def check_repository(root: Path) -> None:
    """Refuse a project outside git, where DVC does not start, unless it was told to do without.

    Raises:
        DataError: no repository.
    """
    configured = [root / ".dvc" / name for name in ("config", "config.local")]
    without = any(path.is_file() and "no_scm = true" in path.read_text().lower() for path in configured)
    if not without and git("rev-parse", "--git-dir", folder=root) is None:
        raise DataError(
            f"{root}: not a git repository, or git is missing, or it belongs to somebody else",
            expected="a clone: DVC and the record of each run need its commit",
            remedy="git init && git add -A && git commit -m start; or, for runs that cannot be made again from their"
            " record: dvc config --local core.no_scm true",
        )


if __name__ == "__main__":
    running = sys.argv[1:] == ["--running"]
    try:
        check(Path.cwd(), photographs=not running)
        check_repository(Path.cwd())
    except InputError as error:
        sys.stderr.write(f"error: {error}{f'; {RESTORED}' if running else ''}\n")
        sys.exit(2)
