"""What experts are worth that an image makes for itself: the same network with those of other images in their place.

own          as trained: what the adapters measure of the image
other        of another image, drawn at random: another scene, mostly another degradation
same recipe  of another scene with the same degradations, drawn at random
mean         the mean over all other scenes, one set for all images
recipe mean  the mean over the other scenes with the same degradations; it is told which these are, as no restorer is

Mean gain in dB. The scene of an image takes no part in its means. Run: python -m benchmarks.experts WEIGHTS SHARDS ...
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cea.evaluation.cases import Case, shard_cases
from cea.inference import restore
from cea.metrics.psnr import psnr
from cea.models.checkpoint import load_weights
from cea.models.global_context import GlobalMeans, Statistics, averaged, recorded, reused
from cea.models.network import RestorationNetwork

SEED = 0
"""Of the draws."""

Choice = Callable[[int], Statistics]


def measured(model: RestorationNetwork, case: Case) -> Statistics:
    """What the adapters measure of an image, and nothing of what the blocks do."""
    adapters = {id(module) for adapter in model.backbone.adapters().values() for module in adapter.modules()}
    names = {name for name, module in model.named_modules() if id(module) in adapters}
    with recorded(model, GlobalMeans) as statistics:
        restore(model, case.read().degraded)
    return {name: value for name, value in statistics.items() if name in names}


def gain(model: RestorationNetwork, case: Case, statistics: Statistics) -> float:
    """In dB, with these statistics."""
    pixels = case.read()
    clean = pixels.clean.astype(np.float32) / 255
    with reused(model, statistics):
        return psnr(restore(model, pixels.degraded), clean) - psnr(pixels.degraded, pixels.clean)


def choices(cases: Sequence[Case], measurements: Sequence[Statistics]) -> dict[str, Choice]:
    """By name: the statistics that the image of a number gets."""
    draw = np.random.default_rng(SEED)

    def others(number: int, *, recipe: bool) -> list[Statistics]:
        own = cases[number]
        return [
            statistics
            for case, statistics in zip(cases, measurements, strict=True)
            if case.clean_id != own.clean_id and (case.recipe == own.recipe or not recipe)
        ]

    def one_of(candidates: list[Statistics]) -> Statistics:
        return candidates[draw.integers(len(candidates))]

    return {
        "own": lambda number: measurements[number],
        "other": lambda number: one_of(others(number, recipe=False)),
        "same recipe": lambda number: one_of(others(number, recipe=True)),
        "mean": lambda number: mean(others(number, recipe=False)),
        "recipe mean": lambda number: mean(others(number, recipe=True)),
    }


def mean(statistics: Sequence[Statistics]) -> Statistics:
    """Over images."""
    return averaged({name: _together([one[name] for one in statistics]) for name in statistics[0]})


def _together(values: Sequence[Any]) -> Any:
    """Batches of one image each as one batch."""
    if isinstance(values[0], Tensor):
        return torch.cat(list(values))
    return type(values[0])(*map(_together, zip(*values, strict=True))) if isinstance(values[0], tuple) else values[0]


def main(weights: Path, folders: Sequence[Path]) -> dict[str, float]:
    """Print the means, and return them by name."""
    torch.set_num_threads(1)
    model, _ = load_weights(weights, trust_code=True)
    cases = shard_cases(folders)
    measurements = [measured(model, case) for case in cases]
    means = {
        name: float(np.mean([gain(model, case, choose(number)) for number, case in enumerate(cases)]))
        for name, choose in choices(cases, measurements).items()
    }
    print(f"{len(cases)} images: " + ", ".join(f"{name} {value:.2f}" for name, value in means.items()))
    return means


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
