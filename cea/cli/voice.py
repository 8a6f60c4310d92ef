"""How much a command says: results always, what it is doing unless ``-q``, details and libraries' logs with ``-v``."""

from __future__ import annotations

import logging
from contextvars import ContextVar

import typer

from cea import progress

QUIET, NORMAL, VERBOSE = -1, 0, 1

_level: ContextVar[int] = ContextVar("level", default=NORMAL)


def set_level(level: int) -> None:
    """Speak as ``QUIET``, ``NORMAL`` or ``VERBOSE`` from here on."""
    _level.set(level)
    progress.show(level != QUIET)
    if level == VERBOSE:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


def is_quiet() -> bool:
    """Whether only results, warnings and errors are wanted."""
    return _level.get() == QUIET


def is_verbose() -> bool:
    """Whether details are wanted, too."""
    return _level.get() == VERBOSE


def tell(line: str, *, err: bool = False) -> None:
    """Say what is being done; nothing with ``-q``."""
    if not is_quiet():
        typer.echo(line, err=err)


def detail(line: str) -> None:
    """Say, on stderr, what only ``-v`` wants to know."""
    if is_verbose():
        typer.echo(line, err=True)
