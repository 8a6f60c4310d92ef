"""Clean tiles in tars, each once however many samples are rendered from it: what ``shard.store: records`` reads.

Members: ``<tile>.clean.png`` and, where the clean image has a depth map, ``<tile>.depth.png`` (16 bit, near is white).
The tiles of a split lie in ``tiles/<split>`` beside the splits of the shards, with ``index.parquet`` (`TILES`) and
``index.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from cea.data.summary import LOCAL, REMEDY, Place, check_listed, read_summary, sane, write_summary
from cea.errors import DataError
from cea.io.tables import read_table, write_rows

TILES: dict[str, Any] = {
    "tile": pl.String,
    "tar": pl.String,
    "height": pl.Int32,
    "width": pl.Int32,
    "frame_height": pl.Int32,
    "frame_width": pl.Int32,
    **{f"{part}_{what}": pl.Int64 for part in ("clean", "depth") for what in ("offset", "size")},
    "clean_sha256": pl.String,
    "depth_sha256": pl.String,
}
"""Columns: a tile's name, its tar, its size and that of the clean image, offsets and sizes of its members in bytes (a
``depth_size`` of 0: no depth map), digests of the decoded pixels (an empty one without a map)."""

_DIGESTS = ("clean_sha256", "depth_sha256")

Crop = tuple[int, int, int, int]
"""[top, left, height, width] in pixels of the clean image."""


def tile_name(clean_id: str, crop: Crop | None) -> str:
    """The name of a tile: of its image and place, the same for every recipe."""
    return f"{clean_id}-{'-'.join(map(str, crop)) if crop else 'whole'}"


def tiles_folder(folder: Path) -> Path:
    """Where the tiles lie that the records in ``folder`` (``<shards>/<split>/<recipe>``) are rendered from."""
    return folder.parent.parent / "tiles" / folder.parent.name


def write_tile_index(folder: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write the index of the tars in ``folder``, and its summary; how many ``rows`` of `TILES` there were."""
    count = write_rows(folder / "index.parquet", rows, TILES)
    write_summary(folder, _DIGESTS, "tiles")
    return count


def read_tile_index(folder: Path, place: Place = LOCAL) -> pl.DataFrame:
    """The index of a folder of tiles.

    Raises:
        DataError: the folder, its index or a tar is missing, cut short or not ours.
    """
    index = read_table(folder / "index.parquet", TILES, remedy=REMEDY)
    summary = read_summary(folder, place)
    sound = sane(("clean", "depth"), summary["tars"], pl.lit(1))
    check_listed(folder, TILES, summary, key="tile", sound=sound, digests=_DIGESTS)
    return index


def with_tiles(folder: Path, index: pl.DataFrame, tiles: pl.DataFrame) -> pl.DataFrame:
    """A part of the index of the records in ``folder`` with the places of their ``tiles``, ``tile_tar`` among them.

    Raises:
        DataError: others than the records were rendered from.
    """
    tiles = tiles.rename({"tar": "tile_tar"})
    own = index.drop("clean_offset", "clean_size")
    joined = own.join(tiles, on="tile", how="left", maintain_order="left", suffix="_of_tile")
    same = [pl.col(name) == pl.col(f"{name}_of_tile") for name in ("clean_sha256", "height", "width")]
    other = joined.filter(~pl.all_horizontal(*same).fill_null(value=False))
    if len(other):
        raise DataError(
            f"{tiles_folder(folder)}: lacks tile {other['tile'][0]!r}, or has another of that name",
            expected=f"the tiles that {folder} was made with",
            remedy="run dvc repro",
        )
    return joined.select(pl.exclude("^.*_of_tile$"))
