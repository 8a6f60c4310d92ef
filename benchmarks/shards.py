"""How the shard stage grows with cores and with samples, in one run.

Throughput of two workers against one, beside what two independent processes can do here at all (each renders
all samples by itself, its start not counted): on shared or hyper-threaded cores two are less than twice one. The four
take turns; each figure is the median over the rounds. Then the processor time that two workers and their parent need
against one process: what parallel work costs, however busy the machine is (Linux only). Then the peak memory for few
and for four times as many samples.
Run: python -m benchmarks.shards [SAMPLES]
"""

from __future__ import annotations

import os
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
from cea.degradations.engine.recipes import RecipeConfig
from cea.io.images import pixel_sha256, write_image

SIDE = 512
ROUNDS = 3
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


def elapsed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall clock, and of processor time of this process and of its children that live on."""
    start, before = time.perf_counter(), processor_seconds()
    work()
    return time.perf_counter() - start, processor_seconds() - before


def processor_seconds() -> float:
    """Of this process and its children, as the kernel counts them."""
    own = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in ("self", *own)]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


def alone(folder: Path, name: str, records: pl.DataFrame) -> tuple[float, float]:
    """Render everything in this process; seconds of the second time, and its largest resident memory in MiB."""
    cv2.setNumThreads(1)
    write_shards(folder / name, records.head(16), folder, ShardConfig(), workers=1)  # tables, first touches
    start = time.perf_counter()
    write_shards(folder / name, records, folder, ShardConfig(), workers=1)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(folder: Path, records: pl.DataFrame, processes: int) -> list[tuple[float, float]]:
    """Fresh processes that know nothing of each other, each rendering everything (see ``alone``)."""
    with get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        return pool.starmap(alone, [(folder, f"out{number}", records) for number in range(processes)], chunksize=1)


def one_round(folder: Path, records: pl.DataFrame) -> dict[str, float]:
    """Ratios of one turn of all four."""
    one, one_cpu = elapsed(lambda: write_shards(folder / "one", records, folder, ShardConfig(), workers=1))
    two, two_cpu = elapsed(lambda: write_shards(folder / "two", records, folder, ShardConfig(), workers=2))
    lonely = apart(folder, records, 1)[0][0]
    both = max(seconds for seconds, _ in apart(folder, records, 2))
    return {"one": one, "two": two, "gain": one / two, "ceiling": 2 * lonely / both, "processor": two_cpu / one_cpu}


def main(samples: int) -> None:
    """Print the figures."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = make(folder, samples)
        write_shards(folder / "warm", records.head(96), folder, ShardConfig(), workers=2)  # start the pool
        rounds = [one_round(folder, records) for _ in range(ROUNDS)]
        median = {key: float(np.median([ratios[key] for ratios in rounds])) for key in rounds[0]}
        print(f"{samples} tiles of 256x256, low_haze_rain; median of {ROUNDS} rounds")
        print(f"  1 worker   {samples / median['one']:6.1f} tiles/s")
        print(f"  2 workers  {samples / median['two']:6.1f} tiles/s  = {median['gain']:.2f} x one worker")
        print(f"  ceiling: two processes apart do {median['ceiling']:.2f} x what one does")
        print(f"  processor time of 2 workers and their parent: {median['processor']:.2f} x that of one process")
        print("  gain by round, with its ceiling:", ", ".join(f"{r['gain']:.2f}/{r['ceiling']:.2f}" for r in rounds))
        for count in (samples // 4, samples):
            print(f"  peak memory with {count:5d} samples: {apart(folder, records.head(count), 1)[0][1]:.0f} MiB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 768)
