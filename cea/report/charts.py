"""Geometry of the page's charts; the template draws it as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Curve = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 340, 200
"""View box of a line chart: about as many units as it gets CSS pixels, so that its letters keep their size."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 10, 26
_MOST_POINTS = 240


@dataclass(frozen=True)
class Tick:
    """A grid line: where, in chart units, and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """One curve as an SVG polyline."""

    name: str
    points: str
    last: str
    kind: str
    """``main`` or ``detail``."""


@dataclass(frozen=True)
class Chart:
    """A line chart, ready to draw."""

    title: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM
    top: int = _TOP


@dataclass(frozen=True)
class Scale:
    """A linear map of [low, high] onto [start, end], with round grid lines inside it."""

    low: float
    high: float
    start: float
    end: float
    ticks: list[Tick] = field(default_factory=list)

    def __call__(self, value: float) -> float:
        """Where ``value`` lies; what is outside goes to the nearer end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def scale(values: Sequence[float], start: float, end: float, *, robust: bool = False) -> Scale:
    """The scale that holds ``values``; ``robust`` lets the topmost 2 % run into the edge (spikes at the start)."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    if robust and len(ordered) > 50:
        high = min(high, ordered[int(0.98 * (len(ordered) - 1))])
    steps = round_steps(low, high)
    low, high = min(low, steps[0]), max(high, steps[-1])
    bare = Scale(low, high, start, end)
    return Scale(low, high, start, end, [Tick(bare(step), spell(step, steps)) for step in steps])


def round_steps(low: float, high: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, from at most ``low`` to the last not above ``high``; at least 2."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-2):
        pad = max(abs(low) * 0.05, 1e-6)
        low, high = low - pad, high + pad
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def spell(value: float, among: Sequence[float]) -> str:
    """``value`` with as many decimals as tell the numbers ``among`` apart."""
    step = min((abs(b - a) for a, b in pairwise(among)), default=1.0)
    if max(abs(number) for number in among) >= 10_000:
        return f"{value / 1000:g}k"
    places = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0
    return f"{value:.{places}f}".replace("-", "\u2212")


def line_chart(
    title: str, main: Mapping[str, Curve], detail: Mapping[str, Curve] | None = None, *, robust: bool = False
) -> Chart | None:
    """Curves name -> (x, y) points on common axes, ``detail`` drawn fainter; None where there is nothing to draw.

    ``robust`` lets spikes run into the upper edge.
    """
    thinned = [(name, thin(_finite(curve)), "detail") for name, curve in (detail or {}).items()]
    thinned += [(name, thin(_finite(curve)), "main") for name, curve in main.items()]
    thinned = [entry for entry in thinned if entry[1]]
    points = [point for _, curve, _ in thinned for point in curve]
    if not points:
        return None
    x_scale = scale([x for x, _ in points], _LEFT, WIDTH - _RIGHT)
    y_scale = scale([y for _, y in points], HEIGHT - _BOTTOM, _TOP, robust=robust)
    lines = [
        Line(name, " ".join(f"{x_scale(x):g},{y_scale(y):g}" for x, y in curve), f"{curve[-1][1]:.4g}", kind)
        for name, curve, kind in thinned
    ]
    return Chart(title, lines, x_scale.ticks, y_scale.ticks)


def thin(curve: Curve, most: int = _MOST_POINTS) -> list[tuple[float, float]]:
    """At most ``most`` points, each the mean of equally many neighbours."""
    if len(curve) <= most:
        return [(float(x), float(y)) for x, y in curve]
    size = math.ceil(len(curve) / most)
    groups = [curve[start : start + size] for start in range(0, len(curve), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def training_charts(curves: Mapping[str, Curve]) -> list[Chart]:
    """The charts of a training run, of those curves that it has.

    Args:
        curves: by the names of `cea.training.callbacks.Curves`: ``train/loss``, ``val/gain_psnr``,
            ``val/gain_psnr/<recipe>``, ``adapters/<site>/<statistic>``.
    """
    charts = [
        line_chart("Training loss", _only(curves, "train/loss"), robust=True),
        line_chart("Validation gain, dB", _only(curves, "val/gain_psnr"), _below(curves, "val/gain_psnr/")),
    ]
    for title, statistic in _STATISTICS.items():
        sites = _below(curves, "adapters/", f"/{statistic}")
        charts.append(line_chart(title, {"mean of sites": mean_curve(list(sites.values()))} if sites else {}, sites))
    charts.append(line_chart("Learning rate", _only(curves, "train/lr")))
    return [chart for chart in charts if chart is not None]


_STATISTICS = {
    "Effective rank of A": "effective_rank_a",
    "Effective rank of D": "effective_rank_d",
    "Share of A that varies across images": "varying_share_a",
}


def mean_curve(curves: Sequence[Curve]) -> list[tuple[float, float]]:
    """The mean of several curves at each x they have."""
    values: dict[float, list[float]] = {}
    for curve in curves:
        for x, y in curve:
            values.setdefault(x, []).append(y)
    return [(x, sum(ys) / len(ys)) for x, ys in sorted(values.items())]


def _only(curves: Mapping[str, Curve], name: str) -> dict[str, Curve]:
    return {name.rpartition("/")[2]: curves[name]} if name in curves else {}


def _below(curves: Mapping[str, Curve], prefix: str, suffix: str = "") -> dict[str, Curve]:
    matching = {name: curve for name, curve in curves.items() if name.startswith(prefix) and name.endswith(suffix)}
    return {name[len(prefix) : len(name) - len(suffix)]: curve for name, curve in matching.items()}


def _finite(curve: Curve) -> list[tuple[float, float]]:
    return [(x, y) for x, y in curve if math.isfinite(x) and math.isfinite(y)]
