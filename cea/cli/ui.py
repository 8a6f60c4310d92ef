"""``cea ui``."""

from __future__ import annotations

import os
import sys
import threading
from typing import Annotated

import typer

from cea.cli.app import app, examples
from cea.cli.voice import tell
from cea.io import child


@app.command(
    "ui",
    short_help="Open the list of training runs.",
    epilog=examples(
        "cea ui",
        "cea ui a-run",
        "cea ui --port 5001 --no-browser",
    ),
)
def ui(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="A run's id, its beginning, or its name: open that run.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the page is served, on this machine only.")] = 5000,
    browser: Annotated[bool, typer.Option(help="Open it once it answers.")] = True,
) -> None:
    """Serve MLflow's pages, and open the list of training runs, best first: gain, adapter, rank, steps, time."""
    from cea.extras import require

    require("mlflow", "cea ui")
    from cea.lineage.runs import experiment_name, find_run
    from cea.lineage.store import open_store, tracking_uri

    _, experiment = open_store(experiment_name(), create=False)
    place = "runs" if run is None else f"runs/{find_run(run)[1].info.run_id}"
    view = "workflowType=machine_learning" + "&viewStateShareKey=cea" * (run is None)
    server = tracking_uri() if tracking_uri().startswith("http") else f"http://127.0.0.1:{port}"
    address = f"{server}/#/experiments/{experiment}/{place}?{view}"
    if server == tracking_uri():
        tell(f"runs: {address}")
        if browser:
            typer.launch(address)
        return
    _check_free(port)
    tell(f"runs: {address}")
    if browser:
        threading.Thread(target=_open_when_ready, args=(server, address), daemon=True).start()
    here = ["--host", "127.0.0.1", "--port", str(port)]  # this machine only: MLflow asks nobody for a password
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri(), "--workers", "1", *here]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with child.tidy_on_signal():
        raise typer.Exit(child.run(command, env=environment))


def _check_free(port: int) -> None:
    """Refuse a port that somebody listens on: the browser would show their page, of another project perhaps.

    Raises:
        DataError: naming the port.
    """
    import socket

    from cea.errors import DataError

    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise DataError(
                f"port {port}: something is served there already",
                expected="a free port",
                remedy=f"end it, or cea ui --port {port % 65535 + 1}",
            )


def _open_when_ready(server: str, address: str) -> None:
    import time
    import urllib.request

    for _ in range(120):
        try:
            urllib.request.urlopen(f"{server}/health", timeout=2).close()
        except OSError:
            time.sleep(1)
        else:
            typer.launch(address)
            return
