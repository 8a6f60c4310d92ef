"""Errors a user can act on: each carries what was wrong, what was expected and what to do."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """Something a user passed cannot be used.

    Args:
        what: the value and where it was found, e.g. ``"photos/a.jpg: truncated JPEG"``.
        expected: what would have been accepted.
        remedy: what to do about it, as an instruction.

    The message reads ``<what>; expected <expected>; <remedy>``. Command lines and stages print it
    on one line and exit with status 2; library callers catch it as a ``ValueError``.
    """

    def __init__(self, what: str, *, expected: str, remedy: str) -> None:
        self.what = what
        self.expected = expected
        self.remedy = remedy
        super().__init__(f"{what}; expected {expected}; {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and errors cross process pools.
        return (_rebuild, (type(self), self.what, self.expected, self.remedy))


def _rebuild(kind: type[InputError], what: str, expected: str, remedy: str) -> InputError:
    return kind(what, expected=expected, remedy=remedy)


class ConfigError(InputError):
    """A parameter is unknown, of the wrong type or out of range."""


class ImageError(InputError):
    """An image file or array cannot be used."""


class RecordError(InputError):
    """A degradation record cannot be rendered by this engine."""


class DataError(InputError):
    """A folder, table, shard or checkpoint is missing, incomplete or inconsistent."""


@contextmanager
def foreign(
    label: str | Path, *, expected: str, remedy: str = "replace or remove the file", kind: type[InputError] = DataError
) -> Iterator[None]:
    """Whatever a library raises on the bytes of somebody else's file becomes one error that names the file.

    For the few lines around a reader that is not ours; which exceptions it knows is its own affair. What already says
    what to do passes unchanged, and an error of the operating system is told by its cause.

    Args:
        label: the file.
        expected: what would have been read.
        remedy: what to do.
        kind: the error raised.

    Raises:
        InputError: of the given ``kind``, on one line.
    """
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        if error.errno is None:  # a decoder's own
            raise kind(f"{label}: {brief(error)}", expected=expected, remedy=remedy) from error
        raise of_system(error, kind, label) from error
    except Exception as error:  # on purpose: damaged bytes raise anything
        raise kind(f"{label}: {brief(error)}", expected=expected, remedy=remedy) from error


_CAUSES = {
    errno.ENOENT: ("a path that exists", "check the path"),
    errno.EISDIR: ("a file, not a folder", "name a file"),
    errno.ENOTDIR: ("a folder, and a part of the path is a file", "check the path"),
    errno.EEXIST: ("a folder, and a part of the path is a file", "remove it, or choose another path"),
    errno.ENAMETOOLONG: ("a shorter name", "shorten it"),
    errno.ELOOP: ("a link that leads to a file", "replace the link"),
    errno.EACCES: ("a place that may be used", "change its permissions, or choose another path"),
    errno.EPERM: ("a place that may be used", "change its permissions, or choose another path"),
    errno.EROFS: ("a place that may be written", "write elsewhere"),
    errno.ENOSPC: ("room to write", "free some space and run again"),
    errno.EDQUOT: ("room to write", "free some space and run again"),
    errno.EFBIG: ("a smaller file", "write elsewhere"),
    errno.EMFILE: ("fewer open files", "raise the limit (ulimit -n)"),
    errno.ENOMEM: ("enough memory", "use smaller tiles or fewer workers"),
}


def of_system(error: OSError, kind: type[InputError] = DataError, label: str | Path | None = None) -> InputError:
    """The operating system's ``error`` as one of ours, told by its cause; ``label`` (default: its file) is named."""
    name = label or error.filename or "input or output"
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    expected, remedy = _CAUSES.get(error.errno or 0, ("a file and a disk that work", "check the path and the disk"))
    reason = os.strerror(error.errno) if error.errno else brief(error)
    return kind(f"{name}: {reason}", expected=expected, remedy=remedy)


def one_line(error: BaseException) -> str:
    """Any error as the one line that a command or a stage ends with.

    What a user can mend is told as such; what nobody foresaw names its kind and the place in the code.
    """
    if isinstance(error, InputError):
        return str(error).replace("\n", " ")
    if isinstance(error, MemoryError):
        return "out of memory; expected room for the picture and one tile; use smaller tiles, pictures or fewer workers"
    if isinstance(error, OSError) and error.errno:
        return str(of_system(error)).replace("\n", " ")
    frames = traceback.extract_tb(error.__traceback__)
    origin = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return (
        f"{type(error).__name__}{origin}: {brief(error)}; expected no such error: this is a fault in the program; "
        f"run again with --debug and report it"
    )


def status_of(error: BaseException) -> int:
    """The exit status for ``error``: 2 for what a user can mend, 1 for a fault of the program."""
    return 2 if isinstance(error, (InputError, MemoryError)) or (isinstance(error, OSError) and error.errno) else 1


def brief(error: BaseException) -> str:
    """What an error says, on one line of at most 300 characters; its kind where it says nothing."""
    text = " ".join(str(error).split())
    return (text[:297] + "..." if len(text) > 300 else text) or type(error).__name__
