"""Where a training step goes, and what `train.fast` gives: plain and fast take turns in one process.

    python -m benchmarks.training_step                       # parts of a step, one thread
    python -m benchmarks.training_step --patch 64 --threads 2
    python -m benchmarks.training_step --operators 20        # of the plain step, by torch.profiler
    python -m benchmarks.training_step --fits 3              # whole trainings of 45 steps: steps per second

Random patches; the whole trainings read toy shards, with Lightning, averaging, curves and data. Medians and best turns:
where other processes share the cores, the best ones say more.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch.nn.utils import clip_grad_norm_
from torch.profiler import ProfilerActivity, profile

from cea.models.config import ModelConfig
from cea.models.measure.allocator import keep_freed_memory
from cea.models.network import build
from cea.training.averaging import average, tensors
from cea.training.config import TrainConfig
from cea.training.fit import TrainingJob, fit
from cea.training.module import RestorationModule
from cea.training.thread_parallel import Shares
from tests.toy_shards import write_toy_shards

Lap = Callable[[str], None]


class Step:
    """A network with all that a step needs, plain or fast."""

    def __init__(self, options: argparse.Namespace, *, fast: bool) -> None:
        self.config = TrainConfig(patch=options.patch, threads=options.threads, fast=fast)
        self.module = RestorationModule(build(ModelConfig(), 1).train(), self.config)
        self.optimizer = self.module.configure_optimizers()["optimizer"]
        self.parameters = list(self.module.network.parameters())
        self.averaged = [tensor.detach().clone() for tensor in tensors(self.module)]
        self.shares = Shares(options.threads) if options.threads > 1 else None
        size = (2, self.config.batch, 3, options.patch, options.patch)
        self.batch = torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    def run(self, lap: Lap) -> None:
        """One step; ``lap`` is called after each part, with its name."""
        degraded, clean = (self.module.unit(images) for images in self.batch)
        lap("bytes to [0, 1]")
        if self.shares:
            loss = self.shares.loss(self.module._loss, self.parameters, degraded, clean)
            lap("forward and backward")
        else:
            restored = self.module.network.judged(degraded).restored
            lap("forward")
            loss = self.module.loss(restored, clean, degraded)
            lap("loss")
        loss.backward()
        lap("backward")
        clip_grad_norm_(self.parameters, 1.0)
        lap("clip")
        self.optimizer.step()
        self.optimizer.zero_grad()
        lap("optimiser")
        average(self.averaged, tensors(self.module), 0.995)
        lap("average")


def parts(options: argparse.Namespace) -> None:
    """The table of parts, in ms."""
    steps = {fast: Step(options, fast=fast) for fast in (False, True)}
    times: dict[str, dict[bool, list[float]]] = defaultdict(lambda: defaultdict(list))
    for turn in range(options.turns + 3):
        for fast, step in steps.items():
            begun = last = time.perf_counter()

            def lap(name: str, fast: bool = fast, turn: int = turn) -> None:
                nonlocal last
                now = time.perf_counter()
                if turn >= 3:
                    times[name][fast].append(1e3 * (now - last))
                last = now

            step.run(lap)
            last = begun
            lap("all")
    print(
        "| part | plain, ms | fast, ms | plain / fast | best, plain | best, fast | plain / fast |\n" + "|---" * 7 + "|"
    )
    for name, both in times.items():
        columns = []
        for of in (median, min):
            plain, fast_ = of(both[False]), of(both[True])
            columns += [f"{plain:.2f}", f"{fast_:.2f}", f"{plain / fast_:.2f}"]
        print(f"| {name} | {' | '.join(columns)} |")


def operators(options: argparse.Namespace) -> None:
    """PyTorch's operators of ten plain steps by their own time."""
    step = Step(options, fast=False)
    for _ in range(3):
        step.run(lambda name: None)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(10):
            step.run(lambda name: None)
    events = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    print("| operator | ms per step | share | calls per step |\n|---|---|---|---|")
    for event in events[: options.operators]:
        own = event.self_cpu_time_total
        print(f"| {event.key} | {own / 1e4:.2f} | {own / total:.1%} | {event.count / 10:.0f} |")


def fits(options: argparse.Namespace) -> None:
    """Steps per second of whole trainings."""
    speeds: dict[bool, list[float]] = defaultdict(list)
    with TemporaryDirectory() as name:
        root = Path(name)
        for split, seed, samples in (("train", 0, 8), ("val", 1, 1)):
            write_toy_shards(root / split / "toy", samples=samples, size=256, seed=seed)
        for turn in range(options.fits):
            for fast in (False, True):
                changes = {"patch": options.patch, "threads": options.threads, "fast": fast}
                config = TrainConfig(
                    max_steps=45, val_interval=45, log_interval=5, val_crop=32, workers=0, device="cpu", **changes
                )
                out = root / f"{turn}-{fast}"
                job = TrainingJob((root / "train/toy",), (root / "val/toy",), out / "model", out / "state", seed=1)
                curve = fit(job, config, ModelConfig(), progress=False).history["train/steps_per_s"]
                speeds[fast] += [speed for step, speed in curve if step > 5]
    plain, fast_ = speeds[False], speeds[True]
    print("| | steps/s, plain | steps/s, fast | fast / plain |\n|---|---|---|---|")
    for label, of in (("median", median), ("best", max)):
        print(f"| {label} | {of(plain):.2f} | {of(fast_):.2f} | {of(fast_) / of(plain):.2f} |")


def main() -> None:
    """Print what was asked for as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", type=int, default=96, help="side in pixels; eight of them make a batch")
    parser.add_argument("--threads", type=int, default=1, help="that share the batch")
    parser.add_argument("--turns", type=int, default=30, help="of plain and fast")
    parser.add_argument("--operators", type=int, default=0, help="so many lines of the plain step's operators instead")
    parser.add_argument("--fits", type=int, default=0, help="so many pairs of whole trainings instead")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    (operators if options.operators else fits if options.fits else parts)(options)


if __name__ == "__main__":
    main()
