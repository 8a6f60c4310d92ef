"""The way back of an example in the page: photograph, recipe, drawn numbers, shard, and the command that renders it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

_DIGITS = 12
"""Of a digest; ``cea trace`` has all of them."""


@dataclass(frozen=True)
class Trace:
    """What an example unfolds.

    Attributes:
        rows: (what, in words).
        drawn: (degradation or scene, its numbers in words), in the order in which they act.
        command: makes the degraded pixels again and compares them with the stored ones.
    """

    rows: list[tuple[str, str]]
    drawn: list[tuple[str, str]]
    command: str


def example_trace(facts: Mapping[str, Any], origin: Mapping[str, Any]) -> Trace:
    """The trace of one example.

    Args:
        facts: of its sample, as `cea.provenance.samples.drawn_facts` gives them.
        origin: of the whole page: ``git.commit``, ``run.name`` and ``run.id`` are shown where they are known.
    """
    sample, shard = facts["sample"], facts["shard"]
    degraded = next(place for name, place in shard["members"].items() if name.endswith(".degraded.png"))
    rows = {
        "photograph": _photograph(facts["clean photograph"]),
        "recipe": _recipe(facts),
        "shard": f"{shard['tar']}, degraded image at byte {degraded['offset']}, {degraded['bytes']} bytes",
        "degraded pixels": f"SHA-256 {shard['degraded pixels'][:_DIGITS]}",
        "made by": _made_by(origin),
    }
    scene = {"scene": _numbers(facts["scene"])} if any(node["field"] for node in facts["degradations"].values()) else {}
    drawn = {label: _numbers(node) for label, node in facts["degradations"].items()} | scene
    command = f"cea trace {shlex.quote(sample)} --render"
    return Trace([(what, text) for what, text in rows.items() if text], list(drawn.items()), command)


def embedded(values: Mapping[str, Any]) -> Markup:
    """JSON for a script element of a page: nothing in it can end the element or begin a comment."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _photograph(clean: Mapping[str, Any]) -> str:
    kind = "" if clean["kind"] == "photograph" else f", {clean['kind']}"
    size = f"{clean['width']} × {clean['height']} px"
    digest = f"SHA-256 {clean['sha256'][:_DIGITS]}"
    return f"{clean['id']}{kind}: {clean['source']}, {clean['licence']}; {size}; {digest}"


def _recipe(facts: Mapping[str, Any]) -> str:
    crop = "" if facts["crop"] is None else f", crop {_value(facts['crop'])} (top, left, height, width)"
    return f"{facts['recipe']}, variant {facts['variant']}, split {facts['split']}, order {facts['order']}{crop}"


def _made_by(origin: Mapping[str, Any]) -> str:
    git, run = origin.get("git", {}), origin.get("run", {})
    commit = f"commit {git['commit'][:_DIGITS]}" if git.get("commit") else ""
    changed = ", with uncommitted changes" if git.get("dirty") == "true" else ""
    named = f"run {run['name']} ({run['id']})" if run.get("id") else ""
    return "; ".join(filter(None, (f"{commit}{changed}", named)))


def _numbers(values: Mapping[str, Any]) -> str:
    return ", ".join(_flat(values))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, "" if key == "params" else f"{key} ")
        elif value is not None:
            yield f"{prefix}{key} {_value(value)}"


def _value(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case list() | tuple():
            return f"({', '.join(map(_value, value))})"
        case _:
            return str(value)
