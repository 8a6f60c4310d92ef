"""What a network costs, measured: time and memory of a forward pass or a training step, several networks in turns."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

TimedJob = Callable[[], object]


def in_turns(
    jobs: Mapping[str, TimedJob], *, rounds: int, device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each job in each round, after one unmeasured round.

    The jobs take turns, each round starts with another one and every other round runs backwards, so that a busy
    machine is busy for all of them and none always comes after the same neighbour. ``time.process_time`` as the clock
    also leaves out what other programs take of the CPU.
    """
    names = list(jobs)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for job in jobs.values():
        job()
    for number in range(rounds):
        start = number // 2 % len(names)
        order = names[start:] + names[:start]
        for name in reversed(order) if number % 2 else order:
            seconds[name].append(_seconds(jobs[name], device, clock))
    return seconds


def ratio(seconds: Mapping[str, list[float]], name: str, against: str) -> float:
    """Median over rounds of ``name``'s time divided by that of ``against`` in the same round."""
    return median(one / other for one, other in zip(seconds[name], seconds[against], strict=True))


def forward_job(model: nn.Module, image: torch.Tensor) -> TimedJob:
    """One forward pass without gradients."""

    def run() -> None:
        with torch.inference_mode():
            model(image)

    return run


def step_job(model: nn.Module, batch: torch.Tensor) -> TimedJob:
    """One training step as in training: forward, L1, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    target = batch.flip(0)

    def run() -> None:
        nn.functional.l1_loss(model(batch), target).backward()
        optimizer.step()
        optimizer.zero_grad()  # nothing but weights and optimizer state outlives a step

    return run


def peak_bytes(job: TimedJob, device: torch.device) -> int:
    """Most memory that ``job`` holds at once beyond what was held before it (weights, optimizer, input).

    On a GPU from the caching allocator's own statistics; on the CPU from the allocations that PyTorch's profiler sees,
    which says on standard error that it starts and stops unless KINETO_LOG_LEVEL is set before PyTorch is loaded.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        job()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        job()
    held = peak = 0
    for change in _allocations(trace):
        held += change
        peak = max(peak, held)
    return peak


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with ``count`` CPU threads inside the block; 0 leaves the number alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(job: TimedJob, device: torch.device, clock: Callable[[], float]) -> float:
    _finish(device)
    start = clock()
    job()
    _finish(device)
    return clock() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _allocations(trace: profile) -> list[int]:
    """Bytes taken (positive) and given back (negative), in the order of time, read from the trace PyTorch exports."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        trace.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    memory = [event for event in events if event.get("name") == "[memory]"]
    return [int(event["args"]["Bytes"]) for event in sorted(memory, key=lambda event: event["ts"])]
