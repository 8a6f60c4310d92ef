"""``cea doctor``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cea.cli.app import app, examples
from cea.cli.voice import is_quiet


@app.command(
    "doctor",
    short_help="Look for what is wrong here; say what to do.",
    epilog=examples(
        "cea doctor",
        "cea doctor --fix",
    ),
)
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: everything, as JSON.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Do what is safe: nothing that could lose a result.")] = False,
) -> None:
    """Look at versions, DVC, MLflow, disk, GPU and environment, and say what to do.

    Exit status: 0 nothing must be done, 1 something must, 2 it could not look.
    """
    from cea.lineage.health import examine
    from cea.lineage.store import project_root

    left, told = 0, list[dict[str, str]]()
    for finding in examine(project_root()):
        mended = fix and finding.bad and finding.fix is not None
        if mended and finding.fix is not None:
            finding.fix()
        left += finding.bad and not mended
        word = "fixed" if mended else "DO" if finding.bad else "ok"
        remedy = f"; {finding.remedy}" if finding.remedy and not mended else ""
        told.append({"state": word.lower(), "subject": finding.subject, "text": finding.text, "remedy": finding.remedy})
        if not as_json and not (is_quiet() and word == "ok"):
            typer.echo(f"{word:5}  {finding.subject:11}  {finding.text}{remedy}")
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    if left:
        raise typer.Exit(1)
