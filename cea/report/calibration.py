"""The figures of the report's section on what the network estimates."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2
from typing import Any

from cea.report.charts import Chart, line_chart

_SMALLEST_LEVEL = 1 / 64
"""Grey levels below which an error is drawn as this."""


def calibration_charts(calibration: Mapping[str, Any]) -> list[Chart]:
    """A reliability diagram for each component, and one for the expected error; none where nothing is estimated.

    Args:
        calibration: the summary's key of this name.
    """
    charts = [
        _diagram(name, [(one["estimated"], one["actual"]) for one in figures["bins"].values()], (0.0, 1.0))
        for name, figures in calibration.get("severity", {}).items()
    ]
    if error := calibration.get("error"):
        levels = [(_log(one["estimated"]), _log(one["actual"])) for one in error["bins"].values()]
        ends = [end for point in levels for end in point]
        charts.append(_diagram("expected error, log2 of grey levels", levels, (min(ends), max(ends))))
    return [chart for chart in charts if chart is not None]


def _diagram(title: str, points: list[tuple[float, float]], ends: tuple[float, float]) -> Chart | None:
    return line_chart(title, {"mean of the truth": points}, {"as estimated": [(end, end) for end in ends]})


def _log(levels: float) -> float:
    return log2(max(levels, _SMALLEST_LEVEL))
