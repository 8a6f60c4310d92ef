"""A trainer outlives a DVC that was killed: it keeps the next one out, and writes over nothing that came in meanwhile.

The lock refuses a second trainer. It does not help where DVC takes the other run from its cache and starts none: before
a trainer hands its weights over, `Destination` says whether the folder is still as it found it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Destination:
    """The folder that results will go to, as a training found it.

    Attributes:
        folder: may be missing.
        found: name, inode, size and time of change (ns) of each file in it; a file that was put there anew differs.
    """

    folder: Path
    found: frozenset[tuple[str, int, int, int]]

    @classmethod
    def of(cls, folder: Path) -> Destination:
        """``folder`` as it is now."""
        return cls(folder, _files(folder))

    def check(self) -> None:
        """Do nothing if the folder is as it was.

        Raises:
            DataError: somebody else wrote there.
        """
        if _files(self.folder) != self.found:
            raise DataError(
                f"{self.folder}: results of another run were put there during this training",
                expected="the folder as this training found it",
                remedy="nothing to do if those are wanted; if these are, run it again with its params.yaml: it goes on "
                "from where it was",
            )


def _files(folder: Path) -> frozenset[tuple[str, int, int, int]]:
    facts = {path.name: path.stat() for path in folder.glob("*")}
    return frozenset((name, one.st_ino, one.st_size, one.st_mtime_ns) for name, one in facts.items())
