"""Memory of stage shard and of the loader over many tiny samples: what each sample more costs, in one run.

Tiles of 16 pixels, so that what is counted is bookkeeping and not pictures. Each figure is the largest resident memory
of a fresh process (Linux), less that of the same process with a hundredth of the samples.
Run: python -m benchmarks.flat_memory [SAMPLES]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import polars as pl

from cea.data.clean import SCHEMA, TABLE
from cea.data.loaders import PatchDataset, PatchSequence, ShardPairs
from cea.data.packing import ShardConfig, select_from, write_shards
from cea.data.records import COLUMNS, SynthesizeConfig, Variants, draw_rows
from cea.degradations.engine.recipes import RecipeConfig
from cea.io.images import pixel_sha256, write_image
from cea.io.tables import write_rows, write_table

SIDE, TILE, VARIANTS = 64, 16, 1000
RECIPE = RecipeConfig(order="physical", nodes={"noise": {"sigma_255": [0, 0.1]}})
"""Hardly any, of images of one grey: compressing pixels would take most of the time, and has no part in this."""


def draw(folder: Path, samples: int) -> None:
    """Clean images and the records of ``samples`` tiles of them."""
    rows = []
    for number in range(max(1, samples // VARIANTS)):
        image = np.full((SIDE, SIDE, 3), number % 256, np.uint8)
        image[0, 0] = (number >> 16 & 255, number >> 8 & 255, number & 255)  # no two alike: draws go by the pixels
        write_image(folder / f"images/{number}.png", image, durable=False)
        facts = {"id": f"i{number:06d}", "sha256": pixel_sha256(image), "file": f"images/{number}.png"}
        size = {"height": SIDE, "width": SIDE, "kind": "photograph", "split": "train"}
        rows.append(dict.fromkeys(SCHEMA) | facts | size)
    clean = pl.DataFrame(rows, schema=SCHEMA)
    write_table(folder / TABLE, clean)
    config = SynthesizeConfig(train=Variants(photograph=min(samples, VARIANTS)), tile=TILE)
    write_rows(folder / "records.parquet", draw_rows(clean, "noise", RECIPE, config, 0), COLUMNS)


def shard(folder: Path) -> float:
    """Render all records as stage shard does; MiB."""
    cv2.setNumThreads(1)
    records = select_from(folder / "records.parquet", folder, "train")
    write_shards(folder / "train/noise", records, folder, ShardConfig(samples_per_tar=1000))
    return peak()


def index(folder: Path) -> float:
    """Open the loader; MiB."""
    ShardPairs([folder / "train/noise"])
    return peak()


def load(folder: Path) -> float:
    """Read every sample once; MiB."""
    pairs = ShardPairs([folder / "train/noise"])
    dataset, sequence = PatchDataset(pairs, 8), PatchSequence((len(pairs.rows[0]),), 1, seed=0)
    for step in range(len(pairs.rows[0])):
        dataset[sequence.orders(step)[0]]
    return peak()


def peak() -> float:
    """Largest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


WORK: dict[str, Callable[[Path], float]] = {"shard": shard, "index": index, "load": load}
TITLES = {"shard": "shard", "index": "loader, its index", "load": "loader, after one pass"}


def apart(work: str, folder: Path) -> float:
    """``work`` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.flat_memory", work, str(folder)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main(samples: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        counts = (samples // 100, samples // 10, samples)
        for count in counts:
            draw(Path(name, str(count)), count)
        for work, title in TITLES.items():
            print(f"{title}: MiB at samples", end="", flush=True)
            found = []
            for count in counts:
                found.append(apart(work, Path(name, str(count))))
                print(f" {count}: {found[-1]:.0f},", end="", flush=True)
            slope = (found[2] - found[1]) * 2**20 / (counts[2] - counts[1])
            print(f" {slope:.0f} bytes for each more", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in WORK:
        print(WORK[sys.argv[1]](Path(sys.argv[2])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
