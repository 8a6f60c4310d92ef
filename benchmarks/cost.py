"""What CEA costs against the same network without adapters, held to its targets, on the CPU or a GPU.

Each ratio is the median over fresh processes of the median over rounds in which the networks take turns: a busy machine
is busy for all, and on the CPU only the processor's time counts. Freed memory is kept: otherwise page faults, whose
number depends on the accident of block sizes, are up to a quarter of the time. The plain network appears twice: what
the second is away from 1 is noise.

Run: python -m benchmarks.cost [small|base] [nafnet|restormer] [processes] [rounds]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from statistics import median

import torch

from cea.models.config import ModelConfig
from cea.models.measure.allocator import keep_freed_memory
from cea.models.measure.overhead import Figure, Plan, against_none, count, lines, measure

TARGETS = {"parameters": 1.05, "GMACs@224": 1.02, "step": 1.08, "forward": 1.08}
"""Most that CEA with 8 experts may cost, by quantity where counted and by task where timed."""

CONTROL = "none again"


def one_process(size: str, block: str, rounds: int) -> list[list[Figure]]:
    """The figures of each task, measured in this process."""
    torch.set_num_threads(1)
    keep_freed_memory()
    gpu = torch.cuda.is_available()
    batch, device, clock = (8, "cuda", time.perf_counter) if gpu else (2, "cpu", time.process_time)
    plan = Plan(((256, 256), (512, 512)), (batch, 128), rounds, device, clock)
    configs = against_none(ModelConfig.model_validate({"size": size, "block": block}), ["cea"], matched=False)
    configs[CONTROL] = configs["none"]
    return [count(configs), *measure(configs, plan)]


def together(runs: list[list[list[Figure]]]) -> list[list[Figure]]:
    """Medians over processes of each figure's value and ratio."""
    return [
        [
            Figure(
                first.task,
                first.quantity,
                first.network,
                median(figure.value for figure in repeats),
                median(figure.ratio for figure in repeats),
            )
            for first, *others in zip(*tasks, strict=True)
            for repeats in [[first, *others]]
        ]
        for tasks in zip(*runs, strict=True)
    ]


def verdicts(figures: list[Figure]) -> list[str]:
    """Each figure of CEA that has a target, with whether it holds."""
    verdict_lines = []
    for figure in figures:
        kind = figure.quantity if figure.task == "counted" else figure.task.split()[0]
        if figure.network == "cea" and figure.quantity != "MB":
            holds = "holds" if figure.ratio <= TARGETS[kind] else "MISSED"
            verdict_lines.append(f"{holds}: {figure.task} {figure.quantity} {figure.ratio:.3f}, target {TARGETS[kind]}")
    return verdict_lines


def in_a_process(size: str, block: str, rounds: str) -> list[list[Figure]]:
    """``one_process`` in a Python of its own."""
    command = [sys.executable, "-m", "benchmarks.cost", "--worker", size, block, rounds]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return [[Figure(**values) for values in task] for task in json.loads(done.stdout)]


def main(size: str = "small", block: str = "nafnet", processes: str = "5", rounds: str = "6") -> None:
    """Print the tables, then a line for each target."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU, one thread"
    print(f"{size} {block} on {device}, PyTorch {torch.__version__}; {processes} processes of {rounds} rounds")
    runs = []
    for number in range(int(processes)):
        runs.append(in_a_process(size, block, rounds))
        ratios = {
            f.task: round(f.ratio, 3) for task in runs[-1] for f in task if f.network == "cea" and f.quantity == "ms"
        }
        print(f"process {number}: {ratios}", flush=True)
    tables = together(runs)
    print("\n".join(line for figures in tables for line in lines(figures)))
    print("\n".join(line for figures in tables for line in verdicts(figures)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        tasks = one_process(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        print(json.dumps([[asdict(figure) for figure in task] for task in tasks]))
    else:
        main(*sys.argv[1:])
