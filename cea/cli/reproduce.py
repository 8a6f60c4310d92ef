"""``cea reproduce``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cea.cli.app import app, examples
from cea.cli.trace import lines
from cea.cli.voice import tell
from cea.io.child import tidy_on_signal

if TYPE_CHECKING:
    from cea.provenance.reproduce import Outcome

_SHOWN = 12
"""Characters of a digest in the table; ``--json`` has them all."""


@app.command(
    "reproduce",
    short_help="Make a run again, and compare.",
    epilog=examples(
        "cea reproduce metrics/report.html",
        "cea reproduce a-run --dry-run",
    ),
)
def reproduce_run(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="A run's id or name, WEIGHTS.safetensors, summary.json, report.html."),
    ],
    start: Annotated[str | None, typer.Option("--from", help="Stage to begin at; DVC's cache has the rest.")] = None,
    data: Annotated[bool, typer.Option("--data", help="The data stages alone, without training.")] = False,
    now: Annotated[bool, typer.Option("--now", help="With the code as it is here, not the recorded one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the temporary worktree.")] = False,
    python: Annotated[Path | None, typer.Option(help="Run the stages with this interpreter's packages.")] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Install requirements.lock of the run's commit into a new environment.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: everything, as JSON.")] = False,
) -> None:
    """Make a run again from its record and compare: 0 identical, 1 different, 2 it could not be made again.

    This runs the code that the record names: trust the sender of a report before you reproduce it.
    """
    from cea.extras import require

    if not (python or rebuild):
        require("dvc", "cea reproduce")
    from cea.lineage.stored import find_record
    from cea.provenance.reproduce import Options, plan, reproduce

    recorded = find_record(target)
    options = Options(start, data, now, keep, python, rebuild)
    facts = plan(recorded, Path(), options, target)
    if dry_run:
        typer.echo(json.dumps(facts, indent=2) if as_json else "\n".join(lines(facts)))
        return
    if not as_json:
        tell("\n".join(lines(facts)))
    with tidy_on_signal():
        outcome = reproduce(recorded, Path(), options)
    verdict = {"identical": outcome.identical, "first_difference": _first(outcome), "why": outcome.why}
    if as_json:
        rows = [asdict(row) for row in outcome.rows]
        more = {"other_versions": dict(outcome.versions), "rows": rows, "folder": _folder(outcome)}
        typer.echo(json.dumps({**verdict, "plan": facts, **more}, indent=2))
    else:
        typer.echo("\n".join([*_table(outcome), *_words(outcome)]))
    if not outcome.identical:
        raise typer.Exit(1)


def _table(outcome: Outcome) -> list[str]:
    says = {True: "same", False: "DIFFERENT", None: "not promised"}
    head = ("stage", "output", "expected", "got", "")
    short = [(r.stage, r.output, r.expected[:_SHOWN], r.got[:_SHOWN], says[r.same]) for r in outcome.rows]
    widths = [max(len(row[column]) for row in [head, *short]) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *short]
    ]


def _words(outcome: Outcome) -> list[str]:
    kept = [] if outcome.folder is None else [f"left in {outcome.folder}"]
    if outcome.first is None:
        changes = ", ".join(f"{name} {change}" for name, change in outcome.versions.items())
        return [f"identical, with other versions: {changes}" if changes else "identical", *kept]
    return [f"first difference: {_first(outcome)}", f"why: {outcome.why}", *kept]


def _first(outcome: Outcome) -> str | None:
    return None if outcome.first is None else f"{outcome.first.stage}, {outcome.first.output}"


def _folder(outcome: Outcome) -> str | None:
    return None if outcome.folder is None else str(outcome.folder)
