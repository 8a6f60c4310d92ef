"""The common entrance of all stages: quiet logs, one-line errors, and the code of this very folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import cea
from cea.errors import InputError


def run(main: Callable[[], None]) -> None:
    """Run a stage's ``main``; an InputError becomes one line on stderr and exit status 2.

    Raises:
        SystemExit: with status 2 on bad input, or where ``cea`` was imported from another folder than the
            current one (an editable install elsewhere would silently run other code than DVC recorded).
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    home = Path(str(cea.__file__)).resolve().parents[1]
    if home != Path.cwd().resolve():
        sys.exit(f"cea was imported from {home}; expected the current folder {Path.cwd()}; run stages through dvc")
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the one place that speaks to the terminal
        sys.exit(2)
