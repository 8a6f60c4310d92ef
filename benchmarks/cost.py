"""What CEA costs against the same network without adapters, held to its targets, on the CPU or a GPU.

Times are medians over rounds of the ratio within a round, the networks taking turns, so that a busy machine is busy for
both. Run: python -m benchmarks.cost [small|base] [nafnet|restormer] [rounds]
"""

from __future__ import annotations

import sys

import torch

from cea.models.config import ModelConfig
from cea.models.overhead import Figure, Plan, against_none, count, lines, measure

TARGETS = {"parameters": 1.05, "GMACs@224": 1.02, "step": 1.08, "forward": 1.08}
"""Most that CEA with 8 experts may cost, by quantity where counted and by task where timed."""


def verdicts(figures: list[Figure]) -> list[str]:
    """Each figure of CEA that has a target, with whether it holds."""
    found = []
    for figure in figures:
        kind = figure.quantity if figure.task == "counted" else figure.task.split()[0]
        if figure.network == "cea" and figure.quantity != "MB":
            holds = "holds" if figure.ratio <= TARGETS[kind] else "MISSED"
            found.append(f"{holds}: {figure.task} {figure.quantity} {figure.ratio:.3f}, target {TARGETS[kind]}")
    return found


def main(size: str = "small", block: str = "nafnet", rounds: str = "15") -> None:
    """Print the tables, then a line for each target."""
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    plan = Plan(((256, 256), (512, 512)), (8, 128) if device == "cuda" else (2, 128), int(rounds), device)
    configs = against_none(ModelConfig.model_validate({"size": size, "block": block}), ["cea"], matched=False)
    print(f"{size} {block} on {device}, PyTorch {torch.__version__}")
    tables = [count(configs)]
    print("\n".join(lines(tables[0])))
    for figures in measure(configs, plan):
        tables.append(figures)
        print("\n".join(lines(figures)), flush=True)
    print("\n".join(line for figures in tables for line in verdicts(figures)))


if __name__ == "__main__":
    main(*sys.argv[1:])
