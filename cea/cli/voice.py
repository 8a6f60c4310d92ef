"""How much a command says: results always, what it is doing unless ``-q``, what libraries tell with ``-v``."""

from __future__ import annotations

import logging
from contextvars import ContextVar

import typer

QUIET, NORMAL, VERBOSE = -1, 0, 1

_level: ContextVar[int] = ContextVar("level", default=NORMAL)


def set_level(level: int) -> None:
    """Speak as ``QUIET``, ``NORMAL`` or ``VERBOSE`` from here on."""
    _level.set(level)
    if level == VERBOSE:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


def is_quiet() -> bool:
    """Whether only results, warnings and errors are wanted."""
    return _level.get() == QUIET


def tell(line: str, *, err: bool = False) -> None:
    """Say what is being done; nothing with ``-q``."""
    if not is_quiet():
        typer.echo(line, err=err)
