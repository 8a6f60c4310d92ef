"""What changes over the steps of a run: the learning rate, and the size of the patches."""

from __future__ import annotations

import math

from cea.data.loaders import PatchStage
from cea.errors import ConfigError
from cea.training.config import TrainConfig


def lr_factor(step: int, config: TrainConfig, seconds: float = 0.0) -> float:
    """The share of ``config.lr`` used by optimiser step ``step`` (from 0): linear warm-up, then half a cosine.

    The first step already moves, the warm-up ends at 1, and the last step of ``max_steps`` uses ``lr_floor``; so does
    what comes after ``max_hours``, of which ``seconds`` have passed.
    """
    warmup = min(config.warmup_steps, config.max_steps // 2)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = max((step - warmup) / max(config.max_steps - 1 - warmup, 1), time_share(config, seconds))
    progress = min(progress, 1.0)
    return config.lr_floor + (1 - config.lr_floor) * (1 + math.cos(math.pi * progress)) / 2


def time_share(config: TrainConfig, seconds: float) -> float:
    """The share of ``config.max_hours`` that has passed; 0 without a limit."""
    return seconds / (3600 * config.max_hours) if config.max_hours else 0.0


def patch_stages(config: TrainConfig, processes: int = 1) -> tuple[PatchStage, ...]:
    """The batches of each process where ``config.patches`` are given: from which step on, how many, of which side.

    A batch holds as many patches as come nearest to the pixels of ``batch`` patches of ``patch``, a multiple of
    ``accumulate``, and never none. The processes share it, and their number changes nothing in it.

    Raises:
        ConfigError: it cannot be shared out evenly.
    """
    pixels = config.batch * config.patch**2
    stages: dict[int, PatchStage] = {}
    for share, side in config.patches or ():
        first = round(share * config.max_steps)
        parts = max(1, round(pixels / (side**2 * config.accumulate)))
        batch = parts * config.accumulate
        if parts % processes:
            raise ConfigError(
                f"train.patches: {batch} patches of {side} pixels, which {processes} processes share",
                expected=f"a multiple of {processes * config.accumulate}",
                remedy="change train.batch, train.patch, this size or the number of processes",
            )
        stages[first] = PatchStage(first, batch // processes, side)
    return tuple(stages.values())
