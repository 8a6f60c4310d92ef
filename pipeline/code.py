"""code: write down which code each stage and each recipe runs, so that DVC re-runs what a change touches."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cea.config import load, read_params
from cea.data.ingest import IngestConfig
from cea.data.sources.registry import SOURCES
from cea.degradations.engine.recipes import modules_of, read_recipes
from cea.io.folders import atomic_folder
from cea.io.images import write_bytes
from cea.lineage.code import closure, listing
from cea.models.adapters.registry import ADAPTERS
from cea.models.blocks.registry import BLOCKS
from cea.models.config import ModelSection
from pipeline import stage

STAGES = ("ingest", "testset", "dataset", "leaks", "train", "evaluate", "report")
PER_RECIPE = ("synthesize", "shard")


def main(paths: Namespace) -> None:
    """One file per stage, one per recipe for those that run for each recipe by itself."""
    params = read_params()
    chosen = components(params)
    with atomic_folder(paths.code) as partial:
        for name in STAGES:
            write(partial / f"{name}.txt", closure([f"pipeline.{name}"], Path(), chosen.__contains__))
        for recipe, config in read_recipes(params).items():
            families = modules_of(config)
            for name in PER_RECIPE:
                write(partial / name / f"{recipe}.txt", closure([f"pipeline.{name}", *families], Path()))


def components(params: Mapping[str, Any]) -> set[str]:
    """The modules of what params.yaml chooses out of registries: adapters, block, source."""
    model, ingest = load(ModelSection, params, "model"), load(IngestConfig, params, "ingest")
    adapters = {model.adapter, model.equal_to or "none", "none"}
    targets = [*map(ADAPTERS.target, adapters), BLOCKS.target(model.block), SOURCES.target(ingest.source)]
    return {target.partition(":")[0] for target in targets}


def write(file: Path, files: set[Path]) -> None:
    """One listing."""
    write_bytes(file, listing(files, Path()).encode())


if __name__ == "__main__":
    stage.run(main, "code")
