"""synthesize: draw every sample of one recipe into a table of records."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from cea.config import load, read_params, section
from cea.data.clean import clean_parts, load_clean
from cea.data.records import COLUMNS, PLANNED, SynthesizeConfig, draw_rows
from cea.degradations.engine.recipes import RecipeConfig
from cea.io.tables import write_rows
from pipeline import stage


def main(paths: Namespace) -> None:
    """Read the clean table and the recipe; write its records."""
    params, recipe = read_params(), paths.recipe
    drawn = draw_rows(
        lambda: clean_parts(paths.clean, PLANNED),
        recipe,
        load(RecipeConfig, params, f"recipes.{recipe}"),
        load(SynthesizeConfig, params, "synthesize"),
        section(params, "seed"),
        lambda row: load_clean(paths.clean, row["file"], None, row["sha256"]).rgb,
    )
    uneven = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal uneven
        for row in drawn:
            uneven += not row["uniform"]
            yield row

    samples = write_rows(paths.records, counted(), COLUMNS)
    logging.info("%s: %d samples, %.0f %% uneven", recipe, samples, 100 * uneven / samples)


if __name__ == "__main__":
    stage.run(main, "clean", "records", words=("recipe",))
