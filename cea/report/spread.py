"""What chance does: the same run with other seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Spread:
    """Gain in dB over runs that differ in their seed alone: mean, standard deviation (n - 1), least, greatest."""

    runs: int
    mean: float
    sd: float
    low: float
    high: float


def gain_spread(summaries: Sequence[Mapping[str, Any]]) -> Spread | None:
    """The spread of the mean gain; None for fewer than two runs, or where protocols or test images differ."""
    same = {(summary["protocol"], summary["images"], summary["input_psnr"]) for summary in summaries}
    if len(summaries) < 2 or len(same) > 1:
        return None
    return _spread([summary["gain_psnr"] for summary in summaries])


def recipe_spreads(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Spread]:
    """The same by recipe, of those that all runs have; empty where `gain_spread` is None."""
    if gain_spread(summaries) is None:
        return {}
    common = [name for name in summaries[0]["recipes"] if all(name in other["recipes"] for other in summaries)]
    return {name: _spread([summary["recipes"][name]["gain_psnr"] for summary in summaries]) for name in common}


def _spread(gains: Sequence[float]) -> Spread:
    return Spread(len(gains), statistics.fmean(gains), statistics.stdev(gains), min(gains), max(gains))
