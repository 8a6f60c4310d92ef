"""What an operating system says of files, as errors that say what to do; and names that can be printed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cea.errors import of_system


def shown(path: Path) -> str:
    """``path`` in a form that can be printed everywhere: bytes that are no UTF-8 appear as ``\\xff``."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


@contextmanager
def explained(path: Path | None) -> Iterator[None]:
    """An operating system's error, at ``path`` or at what it names itself, as one that says what to do.

    Raises:
        DataError: for any `OSError` with a number.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise of_system(error, label=None if path is None else shown(path)) from error
