"""How the shard stage grows with cores and with samples, in one run.

Throughput of two workers against one, beside what two independent processes can do here at all (each renders
all samples by itself): on shared or hyper-threaded cores two are less than twice one. Then the peak memory of the
whole process tree for few and for four times as many samples.
Run: python -m benchmarks.shards [SAMPLES]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import polars as pl

from cea.data.clean import SCHEMA
from cea.data.packing import ShardConfig, select, write_shards
from cea.data.records import SynthesizeConfig, Variants, draw_table
from cea.degradations.recipes import RecipeConfig
from cea.imageio import pixel_sha256, write_image

SIDE = 512
ROUNDS = 2
RECIPE = RecipeConfig(order="cdd11", nodes={"low": {}, "haze": {}, "rain": {}})


def make(folder: Path, samples: int) -> pl.DataFrame:
    """A clean photograph-like image in ``folder`` and ``samples`` selected training records of it."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    write_image(folder / "images/a.png", image)
    row = dict.fromkeys(SCHEMA) | {
        "id": "a", "sha256": pixel_sha256(image), "file": "images/a.png", "height": SIDE, "width": SIDE,
        "kind": "photograph", "split": "train",
    }  # fmt: skip
    table = pl.DataFrame([row], schema=SCHEMA)
    config = SynthesizeConfig(train=Variants(photograph=samples), tile=256)
    return select(draw_table(table, "low_haze_rain", RECIPE, config, 0), table, "train")


def fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of several rounds: other processes only ever add time."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def alone(folder: Path, name: str, records: pl.DataFrame) -> float:
    """Render everything in this process; its largest resident memory in MiB."""
    write_shards(folder / name, records, folder, ShardConfig(), workers=1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(folder: Path, records: pl.DataFrame, processes: int) -> list[float]:
    """Fresh processes that know nothing of each other, each rendering everything; their peak memory in MiB."""
    with get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        return pool.starmap(alone, [(folder, f"out{number}", records) for number in range(processes)], chunksize=1)


def main(samples: int) -> None:
    """Print the figures."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = make(folder, samples)
        write_shards(folder / "warm", records.head(96), folder, ShardConfig(), workers=2)  # start the pool
        one = fastest(lambda: write_shards(folder / "one", records, folder, ShardConfig(), workers=1))
        two = fastest(lambda: write_shards(folder / "two", records, folder, ShardConfig(), workers=2))
        alone_time = fastest(lambda: apart(folder, records, 1))
        both = fastest(lambda: apart(folder, records, 2))
        print(f"{samples} tiles of 256x256, low_haze_rain")
        print(f"  1 worker   {samples / one:6.1f} tiles/s")
        print(f"  2 workers  {samples / two:6.1f} tiles/s  = {one / two:.2f} x one worker")
        print(f"  ceiling: two processes apart do {2 * alone_time / both:.2f} x what one does")
        for count in (samples // 4, samples):
            print(f"  peak memory with {count:5d} samples: {apart(folder, records.head(count), 1)[0]:.0f} MiB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 768)
