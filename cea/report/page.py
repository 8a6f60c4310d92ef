"""The report: one HTML file that needs nothing else, made from what `evaluate` and `train` left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from cea.errors import DataError
from cea.evaluation.pictures import Picture
from cea.io.images import reduced
from cea.report.calibration import calibration_charts
from cea.report.charts import Scale, scale, training_charts
from cea.report.config import ReportConfig
from cea.report.distribution import gain_rows, scenes
from cea.report.images import affinity_colours, data_uri, severity_colours
from cea.report.inputs import Content, ReportFiles, Strip, read_content
from cea.report.published import figure, load_published, measured
from cea.report.spread import gain_spread, recipe_spreads
from cea.report.traces import Trace, embedded, example_trace

_HERE = Path(__file__).parent

_THUMB = 160
"""Longer side of severity maps and thumbnails, in pixels."""

_MAP = 96
"""Longer side of an affinity map, in pixels."""


@dataclass(frozen=True)
class Example:
    """A strip as the template wants it: pixels as data URIs."""

    picture: Picture
    width: int
    height: int
    input: str
    restored: str
    clean: str
    severity: list[tuple[str, str]]
    """(component, data URI)."""
    trace: Trace | None
    """Where it came from; None where that is not known."""


@dataclass(frozen=True)
class Routing:
    """CEA's affinity maps of one picture."""

    picture: Picture
    thumb: str
    sites: list[tuple[str, list[str]]]
    """(site, data URIs of its r maps)."""


def build_report(
    files: ReportFiles,
    lineage: Mapping[str, Any],
    config: ReportConfig,
    traces: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The page as HTML.

    Args:
        files: what it is made from; parts whose files are missing are left out.
        lineage: where the result is from, as nested mappings of printable values. Shown as it is, but for ``command``
            (how to make it again, set as code), ``git.commit``, which also stands in the heading, and ``run.record``
            and ``seconds``, which are for programs: they go into a script element of type ``application/json``.
        config: title and limits.
        traces: sample id -> what ``cea trace`` says of an example; those without one stand there without.

    Raises:
        DataError: no summary, a damaged file, or no way to stay below ``config.max_bytes``.
    """
    content = read_content(files)
    for share in (1.0, 0.85, 0.7, 0.55, 0.4, 0.25):
        page = _render(content, lineage, config, traces or {}, share)
        if len(page.encode()) <= config.max_bytes:
            return page
    raise DataError(
        f"a page of {len(page.encode())} bytes with the smallest pictures",
        expected=f"at most report.max_bytes = {config.max_bytes}",
        remedy="show fewer examples (evaluate.examples) or allow more bytes",
    )


def _render(
    content: Content,
    lineage: Mapping[str, Any],
    config: ReportConfig,
    traces: Mapping[str, Mapping[str, Any]],
    share: float,
) -> str:
    side, quality = max(64, round(config.max_side * share)), max(40, round(config.quality * (0.6 + 0.4 * share)))
    ways = {sample: example_trace(facts, lineage) for sample, facts in traces.items()}
    examples = [_example(strip, side, quality, ways.get(strip.picture.sample_id)) for strip in content.strips]
    published, test_sets = load_published(), content.summary.get("benchmarks", {})
    repeats = [content.summary, *(content.others[name] for name in sorted(content.repeats))]
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=config.title,
            css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
            js=Markup((_HERE / "page.js").read_text(encoding="utf-8")),
            summary=content.summary,
            unseen=[name for name, group in content.summary["recipes"].items() if not group.get("seen", True)],
            runs={"this run": content.summary, **content.others} if content.others else {},
            about=content.about,
            spread=gain_spread(repeats),
            spreads=recipe_spreads(repeats),
            published=published,
            measured={name: measured(table, test_sets) for name, table in published.tables.items()},
            psnr_scale=_psnr_scale(_groups(content, test_sets)),
            severity_scale=_psnr_scale(list(content.summary["severity"].values())),
            gain_rows=gain_rows(content.images),
            scenes=scenes(content.images),
            typical=[example for example in examples if not example.picture.worst],
            worst=[example for example in examples if example.picture.worst],
            routings=[_routing(strip) for strip in content.strips if strip.affinity],
            charts=training_charts(content.curves),
            calibration_charts=calibration_charts(content.summary.get("calibration") or {}),
            training=content.training,
            cost=content.cost,
            lineage=_readable(lineage),
            record=_record(lineage),
            quality=quality,
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(signed=signed, words=words, share=percent, figure=figure)
    return environment


def _record(lineage: Mapping[str, Any]) -> Markup | None:
    """The part of ``lineage`` that programs read, as JSON; None where there is none."""
    record = lineage.get("run", {}).get("record")
    return embedded({"record": record, "seconds": lineage.get("seconds", {})}) if record else None


def _readable(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """The part that people read, without headings over nothing."""
    run = {key: value for key, value in lineage.get("run", {}).items() if key != "record"}
    shown = {key: value for key, value in lineage.items() if key != "seconds"} | {"run": run}
    return {
        key: value
        for key, value in shown.items()
        if not isinstance(value, Mapping) or any(part not in ("", None, {}) for part in value.values())
    }


def _example(strip: Strip, side: int, quality: int, trace: Trace | None) -> Example:
    before, after, clean = (reduced(image, side) for image in (strip.input, strip.restored, strip.clean))
    bands = [data_uri(severity_colours(reduced(band, _THUMB)), 75) for band in strip.severity]
    return Example(
        picture=strip.picture,
        width=before.shape[1],
        height=before.shape[0],
        input=data_uri(before, quality),
        restored=data_uri(after, quality),
        clean=data_uri(clean, quality),
        severity=list(zip(strip.picture.components, bands, strict=False)),
        trace=trace,
    )


def _routing(strip: Strip) -> Routing:
    sites = [
        (site, [data_uri(plane, 75) for plane in affinity_colours(stack, _MAP)])
        for site, stack in strip.affinity.items()
    ]
    return Routing(strip.picture, data_uri(reduced(strip.input, _THUMB), 80), sites)


def _groups(content: Content, test_sets: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Everything that shares the axis of the bars."""
    sets = [group for test_set in test_sets.values() for group in test_set["sets"].values()]
    return [content.summary, *content.summary["recipes"].values(), *content.others.values(), *sets]


def _psnr_scale(groups: Sequence[Mapping[str, Any]]) -> Scale | None:
    """The common axis of a table's input-to-output bars, 0 to 100 %."""
    values = [group[name] for group in groups for name in ("input_psnr", "output_psnr")]
    return scale(values, 0, 100) if values else None


def signed(value: float, places: int = 2) -> str:
    """``value`` with its sign, a real minus: +1.50, −0.20; what rounds to zero has none."""
    text = f"{abs(value):.{places}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "\u2212") + text


def percent(value: float, places: int = 0) -> str:
    """A share as a percentage."""
    return f"{100 * value:.{places}f}\u2009%"


def words(name: str) -> str:
    """A recipe's name as words: ``low_haze`` -> ``low + haze``; field names keep their underscores as spaces."""
    return name.replace("_", " + ")
