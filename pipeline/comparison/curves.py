"""Learning curves of a comparison: gain on the validation images over steps, mean and range over seeds."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

Curve = dict[int, tuple[float, float, float]]
"""Step -> mean, least and greatest gain over the seeds (dB)."""

EARLY = 1000
"""The step whose order is held against that at the end: earlier comparisons stopped there."""


def by_variant(runs: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """The curve of each variant, over the seeds that it has at a step.

    Args:
        runs: each with ``variant`` and ``val_gain_psnr``, a list of (step, dB).
    """
    curves: dict[str, Curve] = {}
    for variant in dict.fromkeys(run["variant"] for run in runs):
        points: dict[int, list[float]] = {}
        for run in runs:
            if run["variant"] == variant:
                for step, gain in run["val_gain_psnr"]:
                    points.setdefault(step, []).append(gain)
        curves[variant] = {step: (fmean(gains), min(gains), max(gains)) for step, gains in sorted(points.items())}
    return curves


def order_at(curves: Mapping[str, Curve], step: int) -> list[str]:
    """Variants by their mean gain at a step, the best first; those without that step are left out."""
    return sorted((name for name, curve in curves.items() if step in curve), key=lambda name: -curves[name][step][0])


def agreement(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """How many pairs stand in the same order in both, of how many."""
    pairs = [(a, b) for at, a in enumerate(one) for b in one[at + 1 :] if a in other and b in other]
    return sum(other.index(a) < other.index(b) for a, b in pairs), len(pairs)


def verdict(curves: Mapping[str, Curve]) -> str:
    """Whether the early order holds at the end, in a sentence."""
    shared = sorted(set.intersection(*(set(curve) for curve in curves.values()))) if curves else []
    early = next((step for step in shared if step >= EARLY), None)
    if len(curves) < 2 or early is None or early == shared[-1]:
        return "The order at an early step cannot be held against a later one: too few points or variants."
    before, after = order_at(curves, early), order_at(curves, shared[-1])
    same, pairs = agreement(before, after)
    return (
        f"Does the order at {early} steps hold at {shared[-1]}? {same} of {pairs} pairs of variants keep their order "
        f"({pairs / 2:.0f} would by chance): {' > '.join(before)} became {' > '.join(after)}."
    )


def svg(curves: Mapping[str, Curve], title: str) -> bytes:
    """The figure: a line per variant, its range over seeds shaded."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "curves", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        for name, curve in curves.items():
            means, least, most = zip(*curve.values(), strict=True)
            (line,) = axes.plot(list(curve), means, label=name, linewidth=1.4, marker=".", markersize=4)
            axes.fill_between(list(curve), least, most, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set(xlabel="steps", ylabel="gain on the validation images, dB", title=title)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
