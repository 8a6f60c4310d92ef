"""What large collections cost: unit costs of the stages, the table for a million photographs, and how rows grow.

``python -m benchmarks.scale units`` measures milliseconds of processor time and bytes per photograph and recipe, and
computes from them what PHOTOGRAPHS of two megapixels under RECIPES recipes need. ``rows N ...`` takes N synthetic
entries, rows without pixels, through near-duplicate search, split, records, index and sampler; ``images N ...`` ingests
N small pictures. Each measurement of these two is a process of its own, so that its peak memory is.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl

from cea.config import load, read_params
from cea.data.clean import SCHEMA, TABLE, clean_parts, load_clean, read_clean
from cea.data.dead_leaves.images import LeavesConfig
from cea.data.duplicates import groups
from cea.data.ingest import IngestConfig, ingest, write_chosen
from cea.data.loaders import PatchDataset, PatchSequence, ShardPairs
from cea.data.packing import ShardConfig, select, write_shards
from cea.data.records import COLUMNS, PLANNED, SynthesizeConfig, Variants, draw_rows, draw_table
from cea.data.shards import INDEX, PARTS, index_parts, read_index, write_index
from cea.data.splits import SplitConfig, assign
from cea.data.taken import Taken
from cea.degradations.engine.recipes import RecipeConfig
from cea.io.images import write_image
from cea.io.tables import write_rows

PHOTOGRAPHS, TILES = 1_000_000, 8
"""Of the estimate; tiles drawn from each photograph and recipe."""

RECIPES = ("low", "haze", "rain", "snow", "low_haze", "low_rain", "low_snow", "haze_rain", "haze_snow",
           "low_haze_rain", "low_haze_snow")  # fmt: skip
"""The eleven of CDD-11."""

MEASURED = ("low", "rain", "low_haze_rain")
SIDES = (1224, 1632)
"""Height and width of two megapixels."""


def used() -> float:
    """Seconds of processor time of this process."""
    return time.process_time()


def names(count: int) -> list[str]:
    """So many SHA-256 digests."""
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]


def thumbnails(count: int) -> np.ndarray:
    """Smooth pictures, every twentieth a turned and noisy copy of another."""
    rng = np.random.default_rng(0)
    small = np.empty((count, 32, 32), np.uint8)
    for number in range(count):
        if number % 20 == 19:
            turned = np.rot90(small[int(rng.integers(number))], int(rng.integers(4)))
            small[number] = np.clip(turned + rng.normal(0, 4, turned.shape), 0, 255)
        else:
            cells = rng.integers(0, 256, (6, 6)).astype(np.uint8)
            small[number] = cv2.resize(cells, (32, 32), interpolation=cv2.INTER_CUBIC)
    return small


def table_of(folder: Path, count: int) -> None:
    """All that `ingest` does but reading and writing pixels: different names, every twentieth a copy of one before."""
    rng, last = np.random.default_rng(0), deque[np.ndarray](maxlen=1000)
    with Taken(folder) as taken:
        for number in range(count):
            digest = hashlib.sha256(str(number).encode()).hexdigest()
            name = f"{digest[-8:]}-{number:07d}-{digest[:10]}"
            facts = {"id": name, "sha256": digest, "file": f"images/{name}.png", "depth_file": None}
            facts |= {"height": 32, "width": 32, "kind": "photograph", "source": "folder", "licence": "not stated"}
            if number % 20 == 19:
                small = last[int(rng.integers(len(last)))][::-1]
            else:
                cells = rng.integers(0, 256, (6, 6)).astype(np.uint8)
                small = cv2.resize(cells, (32, 32), interpolation=cv2.INTER_CUBIC)
            last.append(small)
            taken.add(
                number, facts | {"phash": "0" * 16, "name": f"{number // 1000:04d}/{number:07d}.png"}, small, None
            )
        write_chosen(folder, IngestConfig(), taken)


def clean_table(count: int) -> pl.DataFrame:
    """A table of clean images that are not there."""
    digests = names(count)
    facts: dict[str, Any] = {
        **{"id": digests, "sha256": digests, "file": [f"images/{name}.png" for name in digests]},
        **{"depth_file": None, "height": SIDES[0], "width": SIDES[1], "kind": "photograph", "source": "synthetic"},
        **{"licence": "none", "split": "train", "phash": "0" * 16, "group": digests},
    }
    return pl.DataFrame(facts, schema=SCHEMA)


def written_clean(folder: Path, count: int) -> None:
    """Write it, as ingest does."""
    write_rows(folder / TABLE, clean_table(count).sort("id").iter_rows(named=True), SCHEMA)


def index_table(count: int) -> pl.DataFrame:
    """An index of one tar that is as long as it has to be, and empty."""
    digests = names(count)
    facts: dict[str, Any] = {
        **{"sample_id": digests, "tar": "000000.tar", "recipe": "low", "clean_id": digests, "uniform": True},
        **{"n_components": 1, "height": 256, "width": 256, "clean_sha256": digests, "degraded_sha256": digests},
        **{f"{part}_{what}": 0 for part in PARTS for what in ("offset", "size")},
    }
    table = pl.DataFrame(facts).with_columns(components=pl.lit(["low"]))
    return table.select(pl.col(name).cast(kind) for name, kind in INDEX.items())


def written_index(folder: Path, count: int) -> None:
    """Write it, with its tar."""
    (folder / "000000.tar").write_bytes(bytes(1024))
    write_index(folder, index_table(count))


def write_small(folder: Path, count: int) -> None:
    """Different pictures of 32 x 32 pixels: of a million, both copies fit into 10 GB."""
    for number, small in enumerate(thumbnails(count)):
        write_image(folder / f"raw/{number // 1000:04d}/{number:07d}.png", np.dstack([small] * 3), durable=False)


STAGES = ("split", "near duplicates", "table", "records", "index", "sampler")
"""That work on rows without pixels."""

BEFOREHAND = {"records": written_clean, "index": written_index, "sampler": written_index, "images": write_small}
"""What a stage reads."""


def apart_from(write: Callable[[Path, int], None], folder: Path, count: int) -> None:
    """Write in a process of its own, whose memory does not count."""
    writer = get_context("spawn").Process(target=write, args=(folder, count))
    writer.start()
    writer.join()
    if writer.exitcode:
        sys.exit(f"the process that writes what is read ended with {writer.exitcode}")


def sampled(folder: Path, steps: int) -> None:
    """So many batches of eight orders, with the rows they speak of."""
    pairs = ShardPairs([folder])
    sequence = PatchSequence((len(pairs.rows[0]),), 8, seed=0)
    for step in range(steps):
        for order in sequence.orders(step):
            assert pairs.rows[order.group][order.row]["recipe"] == "low"


def stage(what: str, count: int, folder: Path) -> float:
    """Seconds of processor time of one stage on ``count`` rows."""
    params = read_params()
    recipe = load(RecipeConfig, params, "recipes.low_haze_rain")
    counts = SynthesizeConfig(train=Variants(photograph=1))
    made: Any = None
    parts = partial(clean_parts, folder, PLANNED)
    if what == "near duplicates":
        made = thumbnails(count)
    elif what == "split":
        made = names(count)
    elif what in BEFOREHAND:
        apart_from(BEFOREHAND[what], folder, count)
    run: dict[str, Callable[[], object]] = {
        "near duplicates": lambda: groups(made),
        "split": lambda: assign(made, SplitConfig()),
        "records": lambda: write_rows(
            folder / "r.parquet", draw_rows(parts, "low_haze_rain", recipe, counts, 0), COLUMNS
        ),
        "index": lambda: sum(map(len, index_parts(folder))),
        "sampler": lambda: sampled(folder, 500),
        "images": lambda: ingest_small(folder),
        "table": lambda: table_of(folder, count),
    }
    start = used()
    run[what]()
    return used() - start


def ingest_small(folder: Path) -> None:
    """Ingest them alone, without generated images."""
    sources = {"folder": {"path": str(folder / "raw")}}
    nothing = LeavesConfig(count=0, val_count=0)
    ingest(folder / "clean", IngestConfig(source="folder", sources=sources, leaves=nothing, min_side=32))


def apart(what: str, count: int) -> tuple[float, float]:
    """Seconds, and peak memory in MB, of one stage in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "one", what, str(count)], capture_output=True, text=True, check=True
    )
    seconds, peak = (float(word) for word in done.stdout.split()[-2:])
    return seconds, peak


def rows(counts: list[int], stages: tuple[str, ...]) -> None:
    """A line per stage and count."""
    print(f"{'stage':16s} {'entries':>9s} {'seconds':>9s} {'us each':>9s} {'peak MB':>8s}")
    for what in stages:
        for count in counts:
            seconds, peak = apart(what, count)
            print(f"{what:16s} {count:9d} {seconds:9.2f} {1e6 * seconds / count:9.1f} {peak:8.0f}", flush=True)


def least(run: Callable[[], object], repeats: int = 3) -> float:
    """Milliseconds of processor time, the least of a few."""
    times = []
    for _ in range(repeats):
        start = used()
        run()
        times.append(used() - start)
    return 1000 * min(times)


def units() -> None:
    """Unit costs on four photographs, and the table for a million."""
    cv2.setNumThreads(1)
    params = read_params()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names_ = ["coffee", "china", "flower", "astronaut"]
        bundled = {"bundled": {"names": names_}}
        nothing = {"count": 0, "val_count": 0}
        split = {"test": 0.0, "val": 0.0}
        options = {"source": "bundled", "sources": bundled, "leaves": nothing, "split": split}
        first = IngestConfig.model_validate(options)
        ingest(folder / "small", first)
        (folder / "raw").mkdir()
        for row in read_clean(folder / "small").iter_rows(named=True):
            rgb = load_clean(folder / "small", row["file"], None, row["sha256"]).rgb
            large = cv2.resize(rgb, SIDES[::-1], interpolation=cv2.INTER_CUBIC)
            photograph = np.ascontiguousarray(large[..., ::-1])
            cv2.imwrite(str(folder / "raw" / f"{row['id']}.jpg"), photograph, [cv2.IMWRITE_JPEG_QUALITY, 92])
        config = IngestConfig.model_validate(
            options | {"source": "folder", "sources": {"folder": {"path": str(folder / "raw")}}, "max_side": 2048}
        )
        taken = least(lambda: ingest(folder / "clean", config)) / len(names_)
        clean = read_clean(folder / "clean")
        stored = sum(file.stat().st_size for file in (folder / "clean/images").iterdir()) / len(clean)
        counts = SynthesizeConfig(
            train=Variants(photograph=TILES), val=Variants(photograph=0), test=Variants(photograph=0)
        )
        print(f"ingest: {taken:.0f} ms, {stored / 1e6:.2f} MB per photograph of {SIDES[0]} x {SIDES[1]}")
        print("recipe            draw ms render ms  read ms clean kB degraded     maps   record")
        mean = np.zeros(7)
        for recipe in MEASURED:
            settings = load(RecipeConfig, params, f"recipes.{recipe}")
            table = draw_table(clean, recipe, settings, counts, 0)
            drawn = least(lambda: draw_table(clean, recipe, settings, counts, 0)) / len(table)  # noqa: B023
            chosen = select(table, clean, "train")
            packed = least(lambda: write_shards(folder / recipe, chosen, folder / "clean", ShardConfig()), 2)  # noqa: B023
            packed /= len(table)
            index = read_index(folder / recipe)
            dataset = PatchDataset(ShardPairs([folder / recipe]), 128)
            orders = PatchSequence((len(index),), 32, seed=0).orders(0)
            read = least(lambda: [dataset[order] for order in orders]) / 32  # noqa: B023
            sizes = [float(index[f"{part}_size"].mean()) / 1000 for part in PARTS]  # type: ignore[arg-type]
            mean += np.array([drawn, packed, read, *sizes]) / len(MEASURED)
            print(
                f"{recipe:16s} {drawn:8.2f} {packed:9.1f} {read:8.2f} " + " ".join(f"{size:8.1f}" for size in sizes),
                flush=True,
            )
        million(taken, stored, mean)


def million(taken: float, stored: float, mean: np.ndarray) -> None:
    """What follows for PHOTOGRAPHS, by multiplication alone."""
    drawn, packed, read, clean, degraded, maps, record = mean
    tiles = PHOTOGRAPHS * TILES
    samples = tiles * len(RECIPES)
    hours = 3.6e6
    pixels = samples * (clean + degraded + maps + record + 2) * 1e3  # 2 kB of tar headers and padding
    own, same = (count * (clean + 1) * 1e3 + samples * (record + 1) * 1e3 for count in (samples, tiles))
    print(f"{PHOTOGRAPHS} photographs, {TILES} tiles each, {len(RECIPES)} recipes: {samples:.3g} samples")
    print(f"ingest     {PHOTOGRAPHS * taken / hours:10.0f} core-hours {PHOTOGRAPHS * stored / 1e12:8.2f} TB")
    print(f"synthesize {samples * drawn / hours:10.0f} core-hours {samples * record / 1e9:8.2f} TB of JSON")
    print(f"shard      {samples * packed / hours:10.0f} core-hours {pixels / 1e12:8.2f} TB as pixels")
    print(f"shard.store: records, tiles of each recipe's own  {own / 1e12:8.2f} TB")
    print(f"the same with synthesize.same_tiles               {same / 1e12:8.2f} TB")
    print(f"reading every sample once {samples * read / hours:10.0f} core-hours; egress is the size of the shards")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("units", "rows", "images", "one"))
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args()
    if options.what == "units":
        units()
    elif options.what == "one":
        what, count = options.rest
        with tempfile.TemporaryDirectory() as folder:
            seconds = stage(what, int(count), Path(folder))
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    else:
        stages = ("images",) if options.what == "images" else STAGES
        rows([int(count) for count in options.rest], stages)


if __name__ == "__main__":
    main()
