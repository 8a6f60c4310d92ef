"""A small folder of clean images with its table, as ``ingest`` leaves one."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cea.data.clean import SCHEMA, TABLE
from cea.data.dead_leaves.images import LeavesConfig, generate
from cea.io.images import pixel_sha256, write_image
from cea.io.tables import write_table


def write_clean(folder: Path) -> Path:
    """Six images of 96x80: four photographs (so called) and two leaves with depth, over three splits."""
    splits = ("train", "train", "val", "test", "train", "val")
    rows = [_row(folder, index, split) for index, split in enumerate(splits)]
    write_table(folder / TABLE, pl.DataFrame(rows, schema=SCHEMA).sort("id"))
    return folder


def _row(folder: Path, index: int, split: str) -> dict[str, object]:
    made = generate(LeavesConfig(size=96, seed=7), index)
    rgb, depth = made.rgb[:, :80], made.inverse_depth[:, :80]
    leaf = index >= 4
    write_image(folder / f"images/i{index}.png", rgb)
    if leaf:
        write_image(folder / f"depth/i{index}.png", depth)
    return {
        "id": f"i{index}",
        "sha256": pixel_sha256(rgb),
        "file": f"images/i{index}.png",
        "depth_file": f"depth/i{index}.png" if leaf else None,
        "height": 96,
        "width": 80,
        "kind": "leaves" if leaf else "photograph",
        "source": "test",
        "licence": "CC0",
        "split": split,
        "phash": "0" * 16,
        "group": f"i{index}",
    }
