"""One training at a time in one folder: a trainer outlives a DVC that was killed, and would write into the next one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cea.errors import DataError
from cea.io.faults import explained


@contextmanager
def exclusive(state: Path) -> Iterator[None]:
    """Hold the file ``<state>.lock`` beside ``state``; the system lets go of it however this process ends.

    Raises:
        DataError: another process holds it; its id is in the message.
    """
    path = state.with_name(f"{state.name}.lock")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise DataError(
                f"{state}: process {file.read().strip() or 'unknown'} is still training there",
                expected="one training at a time",
                remedy="wait until it has ended, or end it with kill and that number",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
