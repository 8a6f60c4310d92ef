"""The common entrance of all stages: paths from the command line, quiet logs, one-line errors, this folder's code."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import cea
from cea.errors import InputError, one_line, status_of
from cea.lineage import times
from pipeline.preflight.guard import keep_lock


def workers() -> int:
    """Processes for reading and rendering: CEA_WORKERS, or one per usable core. It never changes a byte.

    Raises:
        InputError: CEA_WORKERS is not a positive number.
    """
    wanted = os.environ.get("CEA_WORKERS", str(len(os.sched_getaffinity(0))))
    if not wanted.isdecimal() or int(wanted) < 1:
        raise InputError(f"CEA_WORKERS = {wanted!r}", expected="a number from 1 up", remedy="correct or unset it")
    return int(wanted)


def check_params() -> None:
    """Refuse a wrong value anywhere in params.yaml, in the one line of ``pipeline.preflight.check``.

    In a process of its own: what checks the other stages' sections is no code that this stage computes with.

    Raises:
        SystemExit: with that process's status, if it is not 0.
    """
    status = subprocess.run([sys.executable, "-m", "pipeline.preflight.check", "--running"], check=False).returncode
    if status:
        sys.exit(status)


def first() -> bool:
    """Whether this is the first of the processes that a launcher (torchrun, Slurm) has started, or the only one."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


def run(
    main: Callable[[argparse.Namespace], None], *paths: str, words: tuple[str, ...] = (), check: bool = False
) -> None:
    """Parse ``--<path>`` options and ``--<word>`` ones, each required, then run a stage's ``main``.

    dvc.yaml alone names data paths, so that what a stage reads and what DVC believes it reads are written once.
    With ``check``, all of params.yaml is checked first (`check_params`).

    Raises:
        SystemExit: after one line on stderr; with status 2 on bad input or where ``cea`` comes from another folder
            than the current one (an editable install elsewhere would run other code than DVC recorded), with 1 on a
            fault of the program. ``--debug``, or CEA_DEBUG=1 (for stages that DVC starts), shows the traceback.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    for path in paths:
        parser.add_argument(f"--{path}", type=Path, required=True)
    for word in words:
        parser.add_argument(f"--{word}", required=True)
    parser.add_argument("--debug", action="store_true", default=os.environ.get("CEA_DEBUG") == "1")
    arguments = parser.parse_args()
    home = Path(str(cea.__file__)).resolve().parents[1]
    try:
        if home != Path.cwd().resolve():
            raise InputError(f"cea is imported from {home}", expected=str(Path.cwd()), remedy="run stages through dvc")
        if check:
            check_params()
        if first():
            keep_lock(Path.cwd())
        main(arguments)
        if first():
            times.keep()
    except Exception as error:
        if arguments.debug:
            traceback.print_exc()
        sys.stderr.write(f"error: {one_line(error)}\n")
        sys.exit(status_of(error))
