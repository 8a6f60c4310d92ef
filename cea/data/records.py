"""The records table: one row per sample, with every drawn number, before any pixel is touched."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field, ValidationError

from cea.config import Config
from cea.degradations.engine.draw import draw
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.records import Record
from cea.errors import DataError, RecordError, brief
from cea.io.tables import as_table, read_parts
from cea.rng import SampleKey
from cea.types import SPLITS, ImageU8, Split

COLUMNS: dict[str, Any] = {
    "sample_id": pl.String,
    "clean_id": pl.String,
    "clean_sha256": pl.String,
    "root_seed": pl.Int64,
    "recipe": pl.String,
    "variant": pl.Int32,
    "split": pl.String,
    "crop": pl.List(pl.Int32),
    "uniform": pl.Boolean,
    "engine_version": pl.String,
    "order": pl.String,
    "scene": pl.String,
    "nodes": pl.String,
    "components": pl.List(pl.String),
    "n_components": pl.Int32,
}
"""Columns of ``data/records/<recipe>.parquet``: the fields of a Record, and the labels of its nodes."""

_REMEDY = "draw the records again (dvc repro)"
_LONGEST_NAME = 200

_AS_JSON = ("scene", "nodes")
"""Nested fields, which the table holds as JSON text."""


class Variants(Config):
    """Samples drawn from one clean image, by its kind."""

    photograph: int = Field(default=1, ge=0, le=9999)
    """Samples per photograph."""

    leaves: int = Field(default=1, ge=0, le=9999)
    """Samples per dead-leaves image."""


class SynthesizeConfig(Config):
    """How many samples of a recipe are drawn from each clean image, and how."""

    train: Variants = Variants(photograph=8, leaves=1)
    """Training samples; each is a tile with a place of its own."""

    val: Variants = Variants(photograph=2, leaves=1)
    """Validation samples, whole images."""

    test: Variants = Variants(photograph=2, leaves=1)
    """Test samples, whole images."""

    nonuniform_share: float = Field(default=0.5, ge=0, le=1)
    """Share of samples whose strength follows a smooth field instead of being the same everywhere."""

    tile: int = Field(default=256, ge=16, le=4096)
    """Side of a training tile in pixels; a smaller image gives a tile of its own size."""

    same_tiles: bool = False
    """Whether all recipes cut the same tiles out of an image; ``shard.store: records`` then keeps each once for all."""

    def variants(self, split: Split) -> Variants:
        """The counts of ``split``."""
        counts: Variants = getattr(self, split)
        return counts


Load = Callable[[Mapping[str, Any]], ImageU8]
"""A row of the clean table -> its pixels, (H, W, 3) uint8."""


def draw_table(
    clean: pl.DataFrame,
    recipe_name: str,
    recipe: RecipeConfig,
    config: SynthesizeConfig,
    root_seed: int,
    load: Load | None = None,
) -> pl.DataFrame:
    """Draw every sample of one recipe, for all splits; a pure function of its arguments.

    A sample depends on its own clean image, recipe and variant only: adding images changes no existing row. Rows are
    ordered by split, variant and clean id, so that neighbours in a shard show different scenes. A recipe that is not
    trained on has test samples only, the same that it would have otherwise. ``load`` is called only for a recipe that
    bounds the input PSNR: its draws are rendered to be judged.

    Raises:
        ConfigError: the recipe bounds the input PSNR, and ``load`` is missing or no draw was within.
        DataError: the clean table or the counts leave no sample.
    """
    return as_table(draw_rows(clean, recipe_name, recipe, config, root_seed, load), COLUMNS)


Clean = Callable[[], Iterable[pl.DataFrame]]
"""Gives the table of clean images from the first row on, ordered by id, in tables of any length."""


def draw_rows(
    clean: pl.DataFrame | Clean,
    recipe_name: str,
    recipe: RecipeConfig,
    config: SynthesizeConfig,
    root_seed: int,
    load: Load | None = None,
) -> Iterator[dict[str, Any]]:
    """The rows of `draw_table`, one after the other; each takes 4 kB, a seventh of that in a table.

    Of a `Clean`, which is read once for each variant of each split, some thousand images are in memory at a time.
    """
    found = False
    parts = (lambda: [clean.sort("id")]) if isinstance(clean, pl.DataFrame) else clean
    for variant, image in _plan(parts, config, SPLITS if recipe.training else ("test",)):
        found = True
        yield _row(_draw(image, recipe, config, SampleKey(root_seed, image["sha256"], recipe_name, variant), load))
    if not found:
        raise DataError(
            f"recipe {recipe_name!r}: no samples", expected="at least one", remedy="raise the counts under synthesize"
        )


def record_parts(path: Path, columns: Iterable[str] = tuple(COLUMNS)) -> Iterator[pl.DataFrame]:
    """The table of records that ``synthesize`` wrote, or some columns of it, some thousand rows at a time.

    Raises:
        DataError: missing, damaged, or another table; damage is told when it is reached.
    """
    return read_parts(path, {name: COLUMNS[name] for name in columns}, remedy=_REMEDY)


def to_record(row: Mapping[str, Any]) -> Record:
    """The record in a row of the table, or in a record's own JSON.

    Raises:
        RecordError: a field is missing, damaged, or no record has such a value.
    """
    try:
        fields = {name: row[name] for name in Record.model_fields}
        nested = {name: json.loads(fields[name]) for name in _AS_JSON if isinstance(fields[name], str)}
        return Record.model_validate_json(json.dumps(fields | nested))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        what = f"{type(error).__name__}: {brief(error)}"
    name = str(row.get("sample_id"))[:_LONGEST_NAME]
    raise RecordError(f"record {name!r}: {what}", expected="a record as synthesize draws it", remedy=_REMEDY)


def is_nonuniform(key: SampleKey, share: float) -> bool:
    """Whether the sample of ``key`` gets a field: of any n variants of an image, n * ``share`` do, to within one."""
    offset = SampleKey(key.root_seed, key.clean_sha256, key.recipe, 0).generator("nonuniform").random()
    return math.floor((key.variant + 1) * share + offset) > math.floor(key.variant * share + offset)


PLANNED = ("id", "sha256", "file", "depth_file", "height", "width", "kind", "split")
"""Columns of the clean table that a draw needs."""


def _plan(clean: Clean, config: SynthesizeConfig, splits: Iterable[Split]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(variant, clean row) of every sample, in the table's order."""
    for split in splits:
        counts = config.variants(split).model_dump()
        for variant in range(max(counts.values())):
            kinds = [kind for kind, count in counts.items() if variant < count]
            chosen = (pl.col("split") == split) & pl.col("kind").is_in(kinds)
            for part in clean():
                images = part.select(PLANNED).filter(chosen)
                yield from ((variant, image) for image in images.iter_rows(named=True))


def _draw(
    image: Mapping[str, Any], recipe: RecipeConfig, config: SynthesizeConfig, key: SampleKey, load: Load | None
) -> Record:
    place = SampleKey(key.root_seed, key.clean_sha256, "", key.variant) if config.same_tiles else key
    crop = _tile(image["height"], image["width"], config.tile, place) if image["split"] == "train" else None
    return draw(
        key.recipe,
        recipe,
        key,
        clean_id=image["id"],
        split=image["split"],
        crop=crop,
        nonuniform=is_nonuniform(key, config.nonuniform_share),
        depth_given=image["depth_file"] is not None,
        clean=None if load is None else partial(load, image),
    )


def _tile(height: int, width: int, side: int, key: SampleKey) -> tuple[int, int, int, int]:
    """(top, left, height, width) in pixels of a tile placed uniformly within the image."""
    rng = key.generator("tile")
    tall, wide = min(side, height), min(side, width)
    return int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1)), tall, wide


def _row(record: Record) -> dict[str, Any]:
    fields = json.loads(record.model_dump_json())
    components = [node["label"] for node in fields["nodes"]]
    nested = {name: json.dumps(fields[name], sort_keys=True, separators=(",", ":")) for name in _AS_JSON}
    return {**fields, **nested, "components": components, "n_components": len(components)}
