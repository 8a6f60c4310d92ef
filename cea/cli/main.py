"""The command line: ``cea ...``. One module per command; libraries are imported when a command needs them."""

from __future__ import annotations

from cea.cli import cost, degrade, evaluate, gallery, reproduce, restore, trace  # each adds its command
from cea.cli.app import app

__all__ = ["app", "cost", "degrade", "evaluate", "gallery", "reproduce", "restore", "trace"]
