"""``python -m cea.cli``."""

from __future__ import annotations

from cea.cli.main import app

if __name__ == "__main__":
    app(prog_name="cea")
