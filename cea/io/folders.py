"""Folders that appear whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cea.errors import of_system

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def _flush(folder: Path) -> None:
    """Wait until everything in the folder is on the disk: one call for its file system, not one per file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        flush = getattr(ctypes.CDLL(None), "syncfs", None)  # Linux
        if flush is None or flush(handle):
            os.sync()
    finally:
        os.close(handle)


def is_unwritable(error: OSError) -> bool:
    """Whether it says that a place cannot be written, or is full: not a matter of trying again."""
    return error.errno in _UNWRITABLE


@contextmanager
def atomic_folder(folder: Path, *, resume: bool = False) -> Iterator[Path]:
    """An empty folder beside ``folder`` that takes its place when the block ends well, and vanishes when not.

    What a killed run left behind carries a fixed name (``.<name>.partial``) and is cleared by the next one.

    Args:
        folder: the place.
        resume: keep what is in the partial folder when the block begins and when it fails: the caller knows what of it
            is whole.

    Raises:
        DataError: the disk is full or the place cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        if not resume:
            shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, exist_ok=resume)
        yield partial
        _flush(partial)
        # A folder that holds files cannot be renamed onto, so the old one has to go first.
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    except OSError as error:
        if not is_unwritable(error):
            raise
        raise of_system(error, label=folder) from error
    finally:
        if not resume:
            shutil.rmtree(partial, ignore_errors=True)
