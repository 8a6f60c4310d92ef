"""Programs that are started here, and end with us: no signal but SIGKILL leaves them behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_PATIENCE_S = 30.0
_PAUSE_S = 0.05


@contextmanager
def tidy_on_signal() -> Iterator[None]:
    """Signals that end a program end the block by an exception, so that what it has to tidy up is tidied up.

    Those are SIGTERM, SIGINT, SIGHUP and SIGQUIT, unless they are ignored already, as under ``nohup``. Further ones
    are ignored meanwhile, by programs that are started to tidy up, too. In a thread nothing changes.

    Raises:
        SystemExit: 128 + the signal's number.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    known = {number: signal.getsignal(number) for number in _ENDING}
    before = {number: handler for number, handler in known.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(command: Sequence[str | Path], **options: Any) -> int:
    """Run a program to its end; its exit status. Where an exception interrupts that, it ends with all it has started.

    Args:
        command: the program and its arguments.
        options: of `subprocess.Popen`.
    """
    process = None
    try:
        with _held_back() as came:
            process = subprocess.Popen(command, start_new_session=True, **options)
        for number in came:
            signal.raise_signal(number)
        return process.wait()
    except BaseException:
        if process is not None:
            _end(process)
        raise


@contextmanager
def _held_back() -> Iterator[list[int]]:
    """The signals that came during the block, which none of them interrupts: a program half started would live on."""
    came: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    known = {number: signal.getsignal(number) for number in _ENDING if main}
    before = {number: handler for number, handler in known.items() if callable(handler)}
    try:
        for number in before:
            signal.signal(number, lambda number, frame: came.append(number))
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[Any]) -> None:
    """SIGTERM for the program and all it has started; SIGKILL for what is left after `_PATIENCE_S`."""
    give_up = time.monotonic() + _PATIENCE_S
    with suppress(ProcessLookupError):  # the last of the group is gone
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < give_up:
            process.poll()  # a zombie would count as one of the group
            os.killpg(process.pid, 0)
            time.sleep(_PAUSE_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
