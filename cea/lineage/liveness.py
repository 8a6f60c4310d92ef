"""Whether the process that opened a run is still there, also where another machine or container runs it."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path

PROCESS_TAG = "cea.process"
"""``host:pid:start:space``: when the kernel started it, and the space in which the number counts."""

ALIVE_TAG = "cea.alive"
"""Unix time in s of the last sign of life."""

BEAT_S = 60
SILENCE_S = 15 * 60
"""A run of another machine that gave no sign for so long is taken for killed."""


def process_mark() -> str:
    """This process, told from every other of this and other machines."""
    return f"{platform.node()}:{os.getpid()}:{started_ticks(os.getpid())}:{_space()}"


def is_dead(mark: str, alive: str | None, started_ms: int) -> bool:
    """Whether the process of a run that is still open is gone.

    Args:
        mark: what `process_mark` said in it; '' where unknown.
        alive: its last sign of life, Unix seconds.
        started_ms: when the run began, Unix milliseconds.
    """
    host, _, rest = mark.partition(":")
    pid, _, rest = rest.partition(":")
    start, _, space = rest.partition(":")
    if host == platform.node() and space in ("", _space()):
        return not Path("/proc", pid).exists() or (start not in ("", started_ticks(int(pid))))
    last = float(alive) if alive else started_ms / 1000
    return time.time() - last > SILENCE_S


class Heartbeat:
    """Calls ``beat`` each minute from a thread of its own until it is stopped; a beat that fails ends it."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cea-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a beat under way is waited for, 5 s at most."""
        self._stopped.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stopped.wait(BEAT_S):
            self._beat()


def started_ticks(pid: int) -> str:
    """Clock ticks after boot at which the kernel started the process; '' where it does not say."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _space() -> str:
    """Boot and process-number space: equal numbers in two containers, or after a restart, are other processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        return f"{boot}-{Path('/proc/self/ns/pid').readlink().name.strip('pid:[]')}"
    except OSError:
        return "unknown"
