"""``cea trace``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cea.cli.app import app, examples
from cea.errors import InputError

if TYPE_CHECKING:
    from cea.lineage.project import Project

_LONGEST = 12
"""Entries of a list that are shown; ``--json`` has them all."""


@app.command(
    "trace",
    short_help="Where a picture, number or weights came from.",
    epilog=examples(
        "cea trace metrics/summary.json:gain_psnr",
        "cea trace weights.safetensors --json",
    ),
)
def trace_back(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A sample id, images.parquet:ROW, SHARD.tar:MEMBER, a picture of the report, a clean image, "
            "WEIGHTS.safetensors, or summary.json:KEY.",
        ),
    ],
    project: Annotated[Path, typer.Option(help="The project's folder.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="For programs: everything, as JSON.")] = False,
    render: Annotated[
        bool, typer.Option("--render", help="Make the degraded pixels (of a mean: all its images) again and compare.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where --render puts one picture (.png).")] = None,
) -> None:
    """Tell where a result came from: photograph, every drawn number, shard, commands, commit, run."""
    from cea.extras import require

    require("polars", "cea trace")
    from cea.lineage.project import open_project
    from cea.provenance.trace import samples_behind, trace

    opened = open_project(project)
    facts = trace(opened, target)
    different = []
    if render:
        samples = samples_behind(opened, target)
        different = _different(opened, samples, out)
        facts["rendered again"] = _verdict(samples, different)
        if out is not None:
            facts["written"] = str(out)
    typer.echo(json.dumps(facts, indent=2) if as_json else "\n".join(lines(facts)))
    if different:
        raise typer.Exit(1)


def _different(project: Project, samples: list[str], out: Path | None) -> list[str]:
    """Those samples whose pixels come out otherwise than they are stored; a single one is written to ``out``."""
    from cea.io.images import write_image
    from cea.progress import followed
    from cea.provenance.trace import render_again

    if out is not None and len(samples) != 1:
        raise InputError(f"--out with {len(samples)} images", expected="one image", remedy="name one sample by its id")
    different = []
    for sample in followed(samples, "render", len(samples)):
        made, same = render_again(project, sample)
        different += [] if same else [sample]
        if out is not None:
            write_image(out, made)
    return different


def _verdict(samples: list[str], different: list[str]) -> str:
    count = f"{len(samples)} images, all " if len(samples) > 1 else ""
    if not different:
        return f"{count}identical, bit for bit"
    which = f": {', '.join(different)}" if len(samples) > 1 else ""
    return f"DIFFERENT from the stored pixels{which}"


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
