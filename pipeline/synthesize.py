"""synthesize: draw every sample of one recipe into a table of records."""

from __future__ import annotations

import logging
from argparse import Namespace

from cea.config import load, read_params, section
from cea.data.clean import load_clean, read_clean
from cea.data.records import SynthesizeConfig, draw_table
from cea.degradations.engine.recipes import RecipeConfig
from cea.io.tables import write_table
from pipeline import stage


def main(paths: Namespace) -> None:
    """Read the clean table and the recipe; write its records."""
    params, recipe = read_params(), paths.recipe
    table = draw_table(
        read_clean(paths.clean),
        recipe,
        load(RecipeConfig, params, f"recipes.{recipe}"),
        load(SynthesizeConfig, params, "synthesize"),
        section(params, "seed"),
        lambda row: load_clean(paths.clean, row["file"], None, row["sha256"]).rgb,
    )
    write_table(paths.records, table)
    logging.info("%s: %d samples, %.0f %% uneven", recipe, len(table), 100 * (1 - table["uniform"].to_numpy().mean()))


if __name__ == "__main__":
    stage.run(main, "clean", "records", words=("recipe",))
