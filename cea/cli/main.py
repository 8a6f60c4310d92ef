"""The command line: ``cea ...``. One module per command; libraries are imported when a command needs them."""

from __future__ import annotations

from cea.cli import (  # each adds its command
    cost,
    degrade,
    doctor,
    evaluate,
    export,
    gallery,
    page,
    reproduce,
    restore,
    runs,
    trace,
    ui,
)
from cea.cli.app import app

__all__ = [
    "app",
    "cost",
    "degrade",
    "doctor",
    "evaluate",
    "export",
    "gallery",
    "page",
    "reproduce",
    "restore",
    "runs",
    "trace",
    "ui",
]
