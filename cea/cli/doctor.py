"""``cea doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from cea.cli.app import app


@app.command("doctor")
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Do what is safe: nothing that could lose a result.")] = False,
) -> None:
    """Look at versions, DVC, MLflow, disk, GPU and environment, and say what to do.

    Exit status: 0 nothing must be done, 1 something must, 2 it could not look.
    """
    from cea.lineage.health import examine
    from cea.lineage.store import project_root

    left = 0
    for finding in examine(project_root()):
        mended = fix and finding.bad and finding.fix is not None
        if mended and finding.fix is not None:
            finding.fix()
        left += finding.bad and not mended
        word = "fixed" if mended else "DO" if finding.bad else "ok"
        remedy = f"; {finding.remedy}" if finding.remedy and not mended else ""
        typer.echo(f"{word:5}  {finding.subject:11}  {finding.text}{remedy}")
    if left:
        raise typer.Exit(1)
