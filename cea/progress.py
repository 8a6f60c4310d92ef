"""How far long work is, and how long it still takes: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar

from tqdm import tqdm

CHANGES_NO_RESULT = True

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 15.0
"""In a log: no line sooner after the last one."""

WORTH_TELLING = 10.0
"""Seconds that work still takes from which the first step ends with an estimate."""

_shown: ContextVar[bool] = ContextVar("shown", default=True)


def show(wanted: bool) -> None:
    """Whether progress is shown from here on."""
    _shown.set(wanted)


class Progress:
    """Progress of one piece of work; nothing is shown of what takes a single step.

    Args:
        label: what is worked on.
        unit: what a step is, in the singular.
        seconds: between two lines where stderr is no terminal.
    """

    def __init__(self, label: str, unit: str = "tile", seconds: float = SECONDS_BETWEEN_LINES) -> None:
        self._label, self._unit, self._seconds = label, unit, seconds
        self._start = self._told = time.monotonic()
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Progress:
        return self

    def step(self, done: int, total: int) -> None:
        """``done`` of ``total`` steps are done."""
        if total < 2 or not _shown.get():
            return
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=total, desc=self._label, unit=self._unit, leave=False, dynamic_ncols=True)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        left = (now - self._start) / done * (total - done) if done else 0.0
        is_first = self._told == self._start and left >= WORTH_TELLING
        if done and (is_first or now - self._told >= self._seconds):
            self._told = now
            times = f"{clock(now - self._start)} so far, {clock(left)} to go"
            sys.stderr.write(f"{self._label}: {done} of {total} {self._unit}s, {times}\n")
            sys.stderr.flush()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def followed(items: Iterable[T], label: str, total: int, unit: str = "image") -> Iterator[T]:
    """``items``, with progress shown as they are taken; none without a ``label``."""
    with Progress(label, unit) as progress:
        for done, item in enumerate(items, 1):
            yield item
            if label:
                progress.step(done, total)


def clock(seconds: float) -> str:
    """``1:05`` or ``2:03:04``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
