"""Shards of pixels against shards of records, in one run: bytes on disk, time per sample, patches per second.

The recipes of params.yaml that are trained on, tiles of the bundled photographs, the same ones for every recipe
(``synthesize.same_tiles``). One process, one thread, processor time. The break-even is the rate at which shards arrive
below which a process that renders gets more patches than one that waits for the bytes of pixels.
Run: python -m benchmarks.stores [--variants N] [--patches N]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import polars as pl
import torch

from cea.config import read_params
from cea.data.clean import SCHEMA
from cea.data.loaders import PatchDataset, PatchSequence, ShardPairs
from cea.data.packing import ShardConfig, select, write_shards
from cea.data.records import SynthesizeConfig, Variants, draw_table
from cea.data.shards import PARTS, read_index
from cea.data.sources.bundled import Bundled, BundledConfig
from cea.data.tiles import read_tile_index
from cea.data.tiling import write_tiles
from cea.degradations.engine.recipes import read_recipes
from cea.io.images import pixel_sha256, reduced, write_image
from cea.levels import to_uint8

NAMES = ["chelsea", "coffee", "rocket", "motorcycle", "flower"]
"""The bundled photographs that ``make repro`` trains on, without the mostly black one."""

PATCH = 96


def photographs(folder: Path) -> pl.DataFrame:
    """The clean table of the photographs, which are written to ``folder``."""
    rows = []
    for item, name in zip(Bundled(BundledConfig(names=NAMES)).items(), NAMES, strict=True):
        image = reduced(to_uint8(item.load().rgb), 1024)
        write_image(folder / f"images/{name}.png", image)
        facts = {"id": name, "sha256": pixel_sha256(image), "file": f"images/{name}.png", "kind": "photograph"}
        rows.append(
            dict.fromkeys(SCHEMA) | facts | {"height": image.shape[0], "width": image.shape[1], "split": "train"}
        )
    return pl.DataFrame(rows, schema=SCHEMA)


def make(folder: Path, variants: int) -> tuple[list[Path], list[Path]]:
    """Both stores; their folders."""
    clean = photographs(folder / "clean")
    recipes = {name: recipe for name, recipe in read_recipes(read_params()).items() if recipe.training}
    config = SynthesizeConfig(train=Variants(photograph=variants), same_tiles=True)
    tables = {
        name: select(draw_table(clean, name, recipe, config, 2026), clean, "train") for name, recipe in recipes.items()
    }
    for store in ("pixels", "records"):
        start = time.process_time()
        for name, table in tables.items():
            write_shards(folder / store / "train" / name, table, folder / "clean", ShardConfig(store=store))
        spent = time.process_time() - start
        print(f"  shards of {store:8s} made in {1000 * spent / sum(map(len, tables.values())):.1f} ms per sample")
    write_tiles(folder / "records/tiles/train", tables.values(), folder / "clean", 48)
    return [folder / "pixels/train" / name for name in tables], [folder / "records/train" / name for name in tables]


def size(folder: Path) -> int:
    """Bytes of tars and indexes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def seconds_per_patch(folders: list[Path], patches: int, room: int) -> float:
    """Processor time for a patch; with ``room``, of tiles that are in the cache."""
    pairs = ShardPairs(folders, room)
    dataset = PatchDataset(pairs, PATCH)
    sequence = PatchSequence(tuple(map(len, pairs.rows)), patches, seed=1)
    orders = sequence.orders(0)
    if room:
        for order in orders:
            dataset[order]
    dataset[orders[0]]  # tables, first touches
    start = time.process_time()
    for order in orders:
        dataset[order]
    return (time.process_time() - start) / patches


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--variants", type=int, default=4)
    parser.add_argument("--patches", type=int, default=240)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{len(NAMES)} photographs, {options.variants} tiles of 256 px of each, seed 2026")
        pixels, records = make(folder, options.variants)
        tiled = folder / "records/tiles/train"
        samples = sum(len(read_index(one)) for one in pixels)
        print(f"  {len(pixels)} recipes, {samples} samples, {len(read_tile_index(tiled))} tiles")
        whole, kept = size(folder / "pixels"), size(folder / "records")
        tiles = size(folder / "records/tiles")
        print(f"bytes per sample: pixels {whole / samples:.0f}, records {kept / samples:.0f}: 1/{whole / kept:.1f}")
        print(f"  of the latter, tiles {tiles / samples:.0f}, records with their index {(kept - tiles) / samples:.0f}")
        for part in PARTS:
            print(f"  {part} in pixels: {sum(read_index(one)[f'{part}_size'].sum() for one in pixels) / samples:.0f}")
        decoded, rendered = (seconds_per_patch(folders, options.patches, 0) for folders in (pixels, records))
        print(f"one patch of {PATCH} px, uncached: decode {1e3 * decoded:.2f} ms, render {1e3 * rendered:.2f} ms")
        print(f"  {1 / decoded:.0f} and {1 / rendered:.0f} patches/s: records {rendered / decoded:.2f} times the time")
        cached = [seconds_per_patch(folders, options.patches, 1 << 31) for folders in (pixels, records)]
        print(f"  cached: {1 / cached[0]:.0f} and {1 / cached[1]:.0f} patches/s")
        least = (whole - kept) / samples / max(rendered - decoded, 1e-9)
        print(f"break-even: {least / 1e6:.0f} MB/s for each process that decodes; records are faster below")


if __name__ == "__main__":
    main()
