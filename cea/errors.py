"""Errors a user can act on: each carries what was wrong, what was expected and what to do."""

from __future__ import annotations


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
