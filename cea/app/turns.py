"""One piece of work at a time, first come, first served; who waits knows how many are before."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

Result = TypeVar("Result")


class StoppedError(Exception):
    """Work that its visitor stopped, or left."""


class Stop:
    """Whether work is to end early; asked from its thread, said from the page."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ask(self) -> None:
        """End at the next step."""
        self._event.set()

    def check(self) -> None:
        """Nothing, or the end.

        Raises:
            StoppedError: it was asked for.
        """
        if self._event.is_set():
            raise StoppedError


class Turns:
    """The queue of one event loop."""

    def __init__(self) -> None:
        self._line: list[tuple[Callable[[int], None], asyncio.Event]] = []

    def __len__(self) -> int:
        return len(self._line)

    @asynccontextmanager
    async def turn(self, told: Callable[[int], None]) -> AsyncIterator[None]:
        """Wait; the block is one's turn.

        Args:
            told: called with how many are before oneself, whenever that changes; 0 is one's turn.
        """
        place = (told, asyncio.Event())
        self._line.append(place)
        self._tell()
        try:
            await place[1].wait()
            yield
        finally:
            self._line.remove(place)
            self._tell()

    async def run(self, work: Callable[[], Result], told: Callable[[int], None], stop: Stop) -> Result:
        """``work()`` in a thread, in turn; the turn lasts until the thread is done, whatever becomes of the caller.

        Raises:
            StoppedError: ``stop`` was asked for while it waited.
        """
        async with self.turn(told):
            stop.check()
            thread = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                return await asyncio.shield(thread)
            except asyncio.CancelledError:
                stop.ask()
                await asyncio.gather(thread, return_exceptions=True)
                raise

    def _tell(self) -> None:
        for before, (told, event) in enumerate(self._line):
            told(before)
            if before == 0:
                event.set()
