"""``cea trace``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cea.cli.app import app

_LONGEST = 12
"""Entries of a list that are shown; ``--json`` has them all."""


@app.command("trace")
def trace_back(
    target: Annotated[
        str,
        typer.Argument(
            help="A sample id, images.parquet:ROW, SHARD.tar:MEMBER, a picture of the report, a clean image, "
            "WEIGHTS.safetensors, or summary.json:KEY."
        ),
    ],
    project: Annotated[Path, typer.Option(help="The project's folder.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="For programs: everything, as JSON.")] = False,
    render: Annotated[bool, typer.Option("--render", help="Make the degraded pixels again and compare.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where --render puts the picture (.png).")] = None,
) -> None:
    """Tell where a result came from: photograph, every drawn number, shard, commands, commit, run."""
    from cea.lineage.project import open_project
    from cea.provenance.trace import render_again, sample_id, trace

    opened = open_project(project)
    facts = trace(opened, target)
    same = True
    if render:
        made, same = render_again(opened, sample_id(opened, target))
        facts["rendered again"] = "identical, bit for bit" if same else "DIFFERENT from the stored pixels"
        if out is not None:
            from cea.io.images import write_image

            write_image(out, made)
            facts["written"] = str(out)
    typer.echo(json.dumps(facts, indent=2) if as_json else "\n".join(lines(facts)))
    if not same:
        raise typer.Exit(1)


def lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Nested facts as one reads them, a line each."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}" + ("" if value else "  none")
            yield from lines(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for entry in value:
                yield f"{indent}{key}"
                yield from lines(entry, indent + "  ")
        else:
            yield f"{indent}{key}  {_words(value)}"


def _words(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case list():
            more = f" and {len(value) - _LONGEST} more" if len(value) > _LONGEST else ""
            return (", ".join(map(_words, value[:_LONGEST])) or "none") + more
        case _:
            return str(value)
