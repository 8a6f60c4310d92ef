"""The cost table: networks side by side, each against the first one, measured in the same run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from cea.models.config import ModelConfig
from cea.models.measure.config import CostConfig
from cea.models.measure.cost import SIDE, cost, figures
from cea.models.measure.matching import match
from cea.models.measure.stopwatch import TimedJob, forward_job, in_turns, peak_bytes, ratio, step_job, threads
from cea.models.network import RestorationNetwork, build

LARGE = 512 * 512
"""Pixels above which two rounds have to do."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        images: (height, width) in pixels of each forward pass of one image.
        patches: (batch, side in pixels) of a training step; None for no step.
        rounds: measurements of each; the table holds medians.
        device: ``cpu`` (float32) or ``cuda`` (bfloat16 where autocast allows it, as in training).
        clock: seconds; of the wall, or of the processor.
    """

    images: tuple[tuple[int, int], ...] = ((256, 256), (512, 512), (1080, 1920))
    patches: tuple[int, int] | None = (8, 128)
    rounds: int = 5
    device: str = "cpu"
    clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True)
class Figure:
    """One number of one network, and how it stands to the first network's.

    Attributes:
        task: ``counted``, ``forward 256x256`` (height x width), ``step 8x128x128`` ...
        quantity: with its unit, ``parameters``, ``GMACs``, ``ms`` or ``MB`` (peak beyond weights and input).
        network: its name.
        value: the number.
        ratio: to that of the first network; of times, the median over rounds of the ratio within a round.
    """

    task: str
    quantity: str
    network: str
    value: float
    ratio: float


def against_none(reference: ModelConfig, adapters: Sequence[str], *, matched: bool) -> dict[str, ModelConfig]:
    """The same network without adapters, then with each of ``adapters``; for ``measure`` and ``count``.

    Args:
        reference: the network and the numbers of its adapters.
        adapters: names; ``none`` among them is the widened backbone, where ``matched``.
        matched: give each as many parameters as ``reference`` has.
    """
    configs = {"none": reference.model_copy(update={"adapter": "none"})}
    for name in adapters:
        config = reference.model_copy(update={"adapter": name})
        if matched and name != reference.adapter:
            configs[f"{name}, matched"] = match(config, reference)
        else:
            configs[name] = config
    return configs


def count(configs: Mapping[str, ModelConfig]) -> list[Figure]:
    """Parameters, and multiply-accumulates at 3 x 224 x 224, of each network; the first is what they stand against."""
    costs = {name: cost(config) for name, config in configs.items()}
    parameters = {name: float(each.parameters) for name, each in costs.items()}
    macs = {name: each.macs / 1e9 for name, each in costs.items()}
    return [*_against_first("counted", "parameters", parameters), *_against_first("counted", f"GMACs@{SIDE}", macs)]


def measure(configs: Mapping[str, ModelConfig], plan: Plan) -> Iterator[list[Figure]]:
    """Time and peak memory of each network, one list per task, as the tasks are done."""
    device = torch.device(plan.device)
    networks = {name: build(config).to(device) for name, config in configs.items()}
    for height, width in plan.images:
        image = torch.rand(1, 3, height, width, device=device)
        jobs = {name: _job(forward_job, network.eval(), image) for name, network in networks.items()}
        yield _figures(f"forward {height}x{width}", jobs, plan)
    if plan.patches:
        batch, side = plan.patches
        patches = torch.rand(batch, 3, side, side, device=device)
        jobs = {name: _job(step_job, network.train(), patches) for name, network in networks.items()}
        yield _figures(f"step {batch}x{side}x{side}", jobs, plan)


def passes(config: ModelConfig, images: Sequence[tuple[int, int]], device: str = "cpu") -> dict[str, float]:
    """Time and peak memory of one forward pass, as numbers to log beside a run.

    On the CPU one thread and the processor's time, which other jobs on the machine distort least.

    Args:
        config: of the network.
        images: (height, width) in pixels.
        device: ``cpu`` or ``cuda``.

    Returns:
        For each size ``forward_<size>_ms``, ``forward_<size>_ratio`` (of the time to that of the same network without
        adapters, in turns with it) and ``forward_<size>_mb``; ``<size>`` is 256 or 1080x1920. A size for which the
        memory does not suffice is left out, with a warning.
    """
    configs = {"none": config.model_copy(update={"adapter": "none"}), "own": config}
    clock = time.perf_counter if device == "cuda" else time.process_time
    numbers: dict[str, float] = {}
    for height, width in images:
        plan = Plan(((height, width),), None, 5 if height * width <= LARGE else 2, device, clock)
        name = f"forward_{height if height == width else f'{height}x{width}'}"
        try:
            with threads(1):
                (own,) = (
                    {figure.quantity: figure for figure in task if figure.network == "own"}
                    for task in measure(configs, plan)
                )
        except RuntimeError as error:  # that is what PyTorch raises on the CPU
            if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
                raise
            logging.warning("%s: not measured, memory does not suffice for %d x %d pixels", name, height, width)
            continue
        numbers[f"{name}_ms"], numbers[f"{name}_ratio"] = own["ms"].value, own["ms"].ratio
        numbers[f"{name}_mb"] = own["MB"].value
    return numbers


def lines(figures: list[Figure]) -> list[str]:
    """The figures of one task as a small text table, a row per network."""
    quantities = list(dict.fromkeys(figure.quantity for figure in figures))
    by_network = {(figure.network, figure.quantity): figure for figure in figures}
    head = f"{figures[0].task:<20}" + "".join(f"{quantity:>14} {'ratio':>7}" for quantity in quantities)
    rows = [
        f"{network:<20}" + "".join(_cell(by_network[network, quantity]) for quantity in quantities)
        for network in dict.fromkeys(figure.network for figure in figures)
    ]
    return [head, *rows]


def _job(kind: Any, network: RestorationNetwork, images: torch.Tensor) -> TimedJob:
    job = kind(network, images)

    def run() -> None:
        with torch.autocast("cuda", torch.bfloat16) if images.is_cuda else nullcontext():
            job()

    return run


def _figures(task: str, jobs: Mapping[str, TimedJob], plan: Plan) -> list[Figure]:
    device = torch.device(plan.device)
    seconds = in_turns(jobs, rounds=plan.rounds, device=device, clock=plan.clock)
    first = next(iter(jobs))
    times = [Figure(task, "ms", name, 1e3 * median(seconds[name]), ratio(seconds, name, first)) for name in jobs]
    peaks = {name: peak_bytes(job, device) / 1e6 for name, job in jobs.items()}
    return [*times, *_against_first(task, "MB", peaks)]


def _against_first(task: str, quantity: str, values: Mapping[str, float]) -> list[Figure]:
    first = next(iter(values.values()))
    return [Figure(task, quantity, name, value, value / first) for name, value in values.items()]


def _cell(figure: Figure) -> str:
    value = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.4g}"
    return f"{value:>14} {figure.ratio:>7.3f}"


def measure_config(config: ModelConfig, wanted: CostConfig) -> dict[str, float]:
    """What one network costs, counted and measured, on the GPU where there is one; numbers to log beside a run."""
    return figures(config) | passes(config, wanted.images, "cuda" if torch.cuda.is_available() else "cpu")
