"""Shards by tasks on a Ray cluster against the local engine: throughput per worker, in one run.

Both render the same records into tars of the same bytes (checked), with as many workers; they take turns, and each
figure is the median over the rounds. Neither start counts: the pool of joblib and the cluster of Ray are there, and
have rendered once, before the first round. ``--workers 1`` compares one worker with one: local then renders in its own
process, while Ray has a driver beside its worker. On a busy machine the wall clock says little; beside it stands the
processor time of this process and all below it, which for Ray includes raylet, workers and its other servers (Linux).
Run: python -m benchmarks.shards_on_ray [--samples 384] [--workers 1] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import polars as pl

from benchmarks.shards import make
from cea.data.cluster import connected
from cea.data.on_ray import write_shards_on_ray
from cea.data.packing import ShardConfig, write_shards

CONFIG = ShardConfig(engine="ray")


def seconds(folder: Path, records: pl.DataFrame, workers: int, engine: str) -> tuple[float, float]:
    """Wall time and processor time of one folder of shards."""
    write = write_shards_on_ray if engine == "ray" else write_shards
    start, before = time.perf_counter(), processor_seconds()
    write(folder / engine, records, folder, CONFIG, workers=workers)
    return time.perf_counter() - start, processor_seconds() - before


def processor_seconds() -> float:
    """Of this process and of all that descend from it and live."""
    stats = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended meanwhile
            stats[int(file.parent.name)] = file.read_text().rpartition(")")[2].split()
    family = {os.getpid()}
    while more := {process for process, fields in stats.items() if int(fields[1]) in family} - family:
        family |= more
    ticks = sum(int(stats[process][11]) + int(stats[process][12]) for process in family if process in stats)
    return ticks / os.sysconf("SC_CLK_TCK")


def same(folder: Path) -> bool:
    """Whether both engines left the same bytes."""
    local, ray = ({path.name: path.read_bytes() for path in (folder / engine).iterdir()} for engine in ("local", "ray"))
    return local == ray


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=384)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    with (
        tempfile.TemporaryDirectory() as name,
        connected(CONFIG.ray, what="a benchmark", workers=options.workers),
    ):
        folder = Path(name)
        records = make(folder, options.samples)
        engines = ("local", "ray")
        for engine in engines:
            seconds(folder, records.head(2 * 48 * options.workers), options.workers, engine)
        rounds = []
        for number in range(options.rounds):
            order = engines if number % 2 == 0 else engines[::-1]
            taken = {engine: seconds(folder, records, options.workers, engine) for engine in order}
            rounds.append([taken[engine] for engine in engines])
            assert same(folder)
    rates = options.samples / np.array(rounds)  # round, engine, clock
    rates[..., 0] /= options.workers
    print(f"{options.samples} tiles of 256x256, low_haze_rain, {options.workers} workers, {options.rounds} rounds")
    for clock, name in enumerate(("second and worker", "processor second")):
        ratios = rates[:, 1, clock] / rates[:, 0, clock]
        local, ray = np.median(rates[..., clock], axis=0)
        print(f"  tiles per {name}: local {local:.1f}, ray {ray:.1f}; ray / local {np.median(ratios):.3f}", end="")
        print(f" ({', '.join(f'{ratio:.3f}' for ratio in ratios)})")
    print("  the same bytes in each round")


if __name__ == "__main__":
    main()
