"""Cutting the clean tiles that records are rendered from into tars, each tile once for all recipes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import polars as pl

from cea.data import png
from cea.data.archive import TarWriter
from cea.data.clean import load_clean
from cea.data.tiles import tile_name, write_tile_index
from cea.errors import DataError
from cea.io.folders import atomic_folder
from cea.io.images import encode_png, pixel_sha256
from cea.io.sequences import in_order
from cea.levels import to_uint16
from cea.types import ImageU8, Map


def write_tiles(folder: Path, records: Iterable[pl.DataFrame], clean_folder: Path, tiles_per_tar: int) -> int:
    """Cut the tiles of ``records`` into ``folder``, which is replaced as a whole; returns how many there are.

    The bytes depend on which tiles there are alone: neither on the order of the records nor on how many share a tile.
    One clean image is in memory at a time, and some thousand records.

    Args:
        folder: ``<shards>/tiles/<split>``.
        records: of one split and of all recipes, some at a time, with the files of their images (see
            `cea.data.packing.select`); none leave an empty folder.
        clean_folder: the folder that these are relative to.
        tiles_per_tar: how many.

    Raises:
        DataError: a clean image is missing or changed, or its depth map has another size.
    """
    with atomic_folder(folder) as partial:
        tiles = _tiles(clean_folder, _once(records))
        return write_tile_index(partial, _write(partial, tiles, tiles_per_tar))


_COLUMNS = ("clean_id", "crop", "file", "depth_file", "clean_sha256")
"""What says which tile it is, and where it is cut from."""


def _once(records: Iterable[pl.DataFrame]) -> Iterator[dict[str, Any]]:
    """`_COLUMNS` of each tile once, by image and place; a whole image before its parts."""
    entries = (_entry(*row) for part in records for row in part.select(_COLUMNS).unique().iter_rows())
    for entry, _ in groupby(in_order(entries)):
        yield dict(zip(_COLUMNS, json.loads(entry.split(_CUT, 2)[2]), strict=True))


_CUT = b"\x01"


def _entry(clean_id: str, crop: Sequence[int] | None, *files: str | None) -> bytes:
    """The same as bytes whose order is that of image and place."""
    place = "".join(f"{side:010d}" for side in crop or ())
    return _CUT.join([clean_id.encode(), place.encode(), json.dumps([clean_id, crop, *files]).encode()])


_Tile = tuple[dict[str, Any], dict[str, bytes]]
"""What its row of the index says before it has a place, and its members by their suffix."""


def _tiles(clean_folder: Path, rows: Iterator[dict[str, Any]]) -> Iterator[_Tile]:
    for (file, depth_file, sha256), of_image in groupby(
        rows, lambda row: (row["file"], row["depth_file"], row["clean_sha256"])
    ):
        image = load_clean(clean_folder, file, depth_file, sha256)
        size = image.rgb.shape[:2]
        if image.inverse_depth is not None and image.inverse_depth.shape != size:
            raise DataError(
                f"{clean_folder / depth_file}: {image.inverse_depth.shape} pixels",
                expected=f"the size of its image, {size}",
                remedy="resize it, or set shard.store to pixels",
            )
        for row in of_image:
            top, left, height, width = crop = row["crop"] or (0, 0, *size)
            part = slice(top, top + height), slice(left, left + width)
            depth = None if image.inverse_depth is None else image.inverse_depth[part]
            facts = {"tile": tile_name(row["clean_id"], row["crop"] and crop)}
            yield _tile(facts | {"frame_height": size[0], "frame_width": size[1]}, image.rgb[part], depth)


def _tile(facts: dict[str, Any], pixels: ImageU8, depth: Map | None) -> _Tile:
    codes = None if depth is None else to_uint16(depth)
    facts |= {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "clean_sha256": pixel_sha256(pixels),
        "depth_sha256": "" if codes is None else pixel_sha256(codes),
    }
    members = {"clean": png.encode(pixels)}
    return facts, members if codes is None else members | {"depth": encode_png(codes)}


def _write(folder: Path, tiles: Iterator[_Tile], tiles_per_tar: int) -> Iterator[dict[str, Any]]:
    for number, first in enumerate(tiles):
        name = f"{number:06d}.tar"
        with TarWriter(folder / name) as tar:
            for facts, members in chain([first], islice(tiles, tiles_per_tar - 1)):
                places = {"depth_offset": 0, "depth_size": 0}
                for part, data in members.items():
                    offset, size = tar.add(f"{facts['tile']}.{part}.png", data)
                    places |= {f"{part}_offset": offset, f"{part}_size": size}
                yield {**facts, **places, "tar": name}
