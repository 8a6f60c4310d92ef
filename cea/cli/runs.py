"""``cea runs``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cea.cli.app import app, examples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cea.lineage.runs import RunRow


@app.command(
    "runs",
    short_help="List, delete or send training runs.",
    epilog=examples(
        "cea runs",
        "cea runs --delete a-run",
    ),
)
def runs(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: everything, as JSON.")] = False,
    delete: Annotated[
        str | None, typer.Option(metavar="RUN", help="Delete a run (id or name), its artifacts and cache entries.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --delete: do not ask.")] = False,
    sync: Annotated[bool, typer.Option("--sync", help="Send what was kept while the MLflow store was down.")] = False,
) -> None:
    """List the runs of this project: gain, adapter, budget, state."""
    from cea.extras import require

    require("mlflow", "cea runs")
    from cea.lineage.runs import list_runs, send_waiting, waiting_runs

    if delete is not None:
        _delete(delete, yes)
        return
    if sync:
        sent = send_waiting()
        left = waiting_runs()
        if sent or not left:
            typer.echo(f"sent: {', '.join(sent)}" if sent else "nothing waits to be sent")
        if left:
            typer.echo(f"not sent, for they began in another store or were deleted: {', '.join(left)}")
        return
    rows = list_runs()
    typer.echo(json.dumps([row.as_json() for row in rows], indent=2) if as_json else "\n".join(_table(rows)))


def _table(rows: Iterable[RunRow]) -> Iterator[str]:
    yield f"{'id':8}  {'name':23}  {'gain dB':>7}  {'adapter':8} {'rank':>4} {'steps':>6} {'min':>5}  state"
    for row in rows:
        gain = "-" if row.gain_psnr is None else f"{row.gain_psnr:+.2f}"
        minutes = "-" if row.seconds is None else f"{row.seconds / 60:.1f}"
        identity = row.id.removeprefix("offline-")[:8]
        name, adapter = _cut(row.name, 23), _cut(row.adapter or "-", 8)
        budget = f"{adapter:8} {row.rank or '-':>4} {row.steps or '-':>6} {minutes:>5}"
        yield f"{identity}  {name:23}  {gain:>7}  {budget}  {row.state}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _delete(wanted: str, yes: bool) -> None:
    from cea.lineage.cache import folder_size
    from cea.lineage.runs import artifact_folder, cache_of, delete_run, find_run

    client, run = find_run(wanted)
    cache, artifacts = cache_of(client, run), artifact_folder(run)
    size = folder_size(artifacts) if artifacts else 0
    began = datetime.fromtimestamp(run.info.start_time / 1000).strftime("%Y-%m-%d %H:%M")
    typer.echo(
        f"{run.info.run_name} ({run.info.run_id}, {began}): artifacts {size / 2**20:.1f} MB, "
        f"{len(cache.objects)} files of DVC's cache {cache.size / 2**20:.1f} MB"
    )
    if not yes:
        typer.confirm("Delete all of it?", abort=True)
    delete_run(client, run, cache)
    typer.echo("deleted")
