"""``cea ui``."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Annotated

import typer

from cea.cli.app import app, examples
from cea.cli.voice import tell


@app.command(
    "ui",
    short_help="Open the list of training runs.",
    epilog=examples(
        "cea ui",
        "cea ui --port 5001 --no-browser",
    ),
)
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the page is served, on this machine only.")] = 5000,
    browser: Annotated[bool, typer.Option(help="Open it once it answers.")] = True,
) -> None:
    """Serve MLflow's pages, and open the list of training runs: gain, adapter, rank, steps, time."""
    from cea.lineage.runs import experiment_name
    from cea.lineage.store import open_store, tracking_uri

    _, experiment = open_store(experiment_name(), create=False)
    server = tracking_uri() if tracking_uri().startswith("http") else f"http://127.0.0.1:{port}"
    address = f"{server}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey=cea"
    tell(f"runs: {address}")
    if server == tracking_uri():
        if browser:
            typer.launch(address)
        return
    if browser:
        threading.Thread(target=_open_when_ready, args=(server, address), daemon=True).start()
    place = ["--host", "127.0.0.1", "--port", str(port)]  # this machine only: MLflow asks nobody for a password
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri(), *place]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)


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
