"""code: check params.yaml, then write down which code each stage and recipe runs: DVC re-runs what a change touches."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cea.config import load, read_params
from cea.data.ingest import IngestConfig
from cea.data.sources import registry as sources
from cea.degradations.engine.recipes import modules_of, read_recipes
from cea.io.folders import atomic_folder
from cea.io.images import write_bytes
from cea.lineage.code import closure, listing
from cea.models.adapters import registry as adapters
from cea.models.blocks import registry as blocks
from cea.models.config import ModelSection
from pipeline import stage
from pipeline.preflight.check import check

STAGES = ("ingest", "tiles", "testset", "dataset", "leaks", "train", "evaluate", "report")
PER_RECIPE = ("synthesize", "shard")


def main(paths: Namespace) -> None:
    """One file per stage, one per recipe for those that run for each recipe by itself.

    DVC removes what a stage is going to write before it starts it. Where keys change that decide listings or data, this
    stage runs first: what is wrong in params.yaml is found here, while every result is still there.
    """
    check(Path())
    params = read_params()
    chosen = components(params)
    with atomic_folder(paths.code) as partial:
        for name in STAGES:
            write(partial / f"{name}.txt", closure([f"pipeline.{name}"], Path(), chosen))
        for recipe, config in read_recipes(params).items():
            families = modules_of(config)
            for name in PER_RECIPE:
                write(partial / name / f"{recipe}.txt", closure([f"pipeline.{name}", *families], Path()))


def components(params: Mapping[str, Any]) -> dict[str, set[str]]:
    """Module of a registry -> the modules of what params.yaml chooses out of it: adapters, block, source."""
    model, ingest = load(ModelSection, params, "model"), load(IngestConfig, params, "ingest")
    targets = {
        adapters.__name__: [
            adapters.ADAPTERS.target(each) for each in (model.adapter, model.equal_to or "none", "none")
        ],
        blocks.__name__: [blocks.BLOCKS.target(model.block)],
        sources.__name__: [sources.SOURCES.target(ingest.source)],
    }
    return {registry: {target.partition(":")[0] for target in of_it} for registry, of_it in targets.items()}


def write(file: Path, files: set[Path]) -> None:
    """One listing."""
    write_bytes(file, listing(files, Path()).encode())


if __name__ == "__main__":
    stage.run(main, "code")
