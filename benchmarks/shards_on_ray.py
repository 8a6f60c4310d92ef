"""Shards by tasks on a Ray cluster against the local engine: throughput per worker, in one run.

Both render the same records into tars of the same bytes (checked), with as many workers; they take turns, and each
figure is the median over the rounds. Neither start counts: the pool of joblib and the cluster of Ray are there, and
have rendered once, before the first round. ``--workers 1`` compares one worker with one: local then renders in its own
process, while Ray has a driver beside its worker.
Run: python -m benchmarks.shards_on_ray [--samples 384] [--workers 1] [--rounds 5]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import polars as pl

from benchmarks.shards import make
from cea.data.cluster import connected
from cea.data.on_ray import write_shards_on_ray
from cea.data.packing import ShardConfig, write_shards

CONFIG = ShardConfig(engine="ray")


def seconds(folder: Path, records: pl.DataFrame, clean: Path, workers: int, engine: str) -> float:
    """Wall time of one folder of shards."""
    write = write_shards_on_ray if engine == "ray" else write_shards
    start = time.perf_counter()
    write(folder / engine, records, clean, CONFIG, workers=workers)
    return time.perf_counter() - start


def same(folder: Path) -> bool:
    """Whether both engines left the same bytes."""
    local, ray = ({path.name: path.read_bytes() for path in (folder / engine).iterdir()} for engine in ("local", "ray"))
    return local == ray


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=384)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with (
        tempfile.TemporaryDirectory() as name,
        connected(CONFIG.ray, what="a benchmark", workers=options.workers),
    ):
        folder = Path(name)
        records = make(folder, options.samples)
        engines = ("local", "ray")
        for engine in engines:
            seconds(folder, records.head(2 * 48 * options.workers), folder, options.workers, engine)
        rounds = []
        for number in range(options.rounds):
            order = engines if number % 2 == 0 else engines[::-1]
            taken = {engine: seconds(folder, records, folder, options.workers, engine) for engine in order}
            rounds.append((taken["local"], taken["ray"]))
            assert same(folder)
        per_worker = options.samples / options.workers / np.array(rounds)
        ratios = per_worker[:, 1] / per_worker[:, 0]
        local, ray = np.median(per_worker, axis=0)
        print(f"{options.samples} tiles of 256x256, low_haze_rain, {options.workers} workers, {options.rounds} rounds")
        print(f"  local {local:6.1f} tiles/s per worker")
        print(f"  ray   {ray:6.1f} tiles/s per worker; ray / local, median of the rounds: {np.median(ratios):.3f}")
        print("  by round:", ", ".join(f"{ratio:.3f}" for ratio in ratios), "; the same bytes in each")


if __name__ == "__main__":
    main()
