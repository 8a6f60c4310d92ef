"""A process that has everything imported and computes nothing: each stage runs in a fork of it, and can be killed.

Reads a JSON object a line: ``stage``, ``paths``, and ``delay`` (seconds after which the fork is killed), ``file_size``
(most bytes of a file: a full disk) or ``user`` (a number to run as, who may not write). Answers with ``status`` (the
exit status, negative for a signal), ``seconds`` and ``said`` (standard error).
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from argparse import Namespace
from pathlib import Path
from typing import Any

STAGES = ("code", "ingest", "synthesize", "shard", "tiles", "dataset", "leaks", "train", "evaluate", "report")


def serve() -> None:
    """Answer until standard input ends."""
    mains = {name: importlib.import_module(f"pipeline.{name}").main for name in STAGES}
    for name in ("mlflow", "lightning.pytorch", "sqlalchemy.dialects.sqlite", "alembic.command", "torch.optim"):
        importlib.import_module(name)
    say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        say(json.dumps(fork(mains[order["stage"]], order)))


def say(line: str) -> None:
    """To whoever asked."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def fork(main: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Run one stage in a child process."""
    reading, writing = os.pipe()  # no file: those may be limited in size
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        run(main, order, writing)
    status, seconds = wait(child, start, order.get("delay")), time.monotonic() - start
    os.close(writing)
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb", buffering=0) as said:
        text = (said.read(1 << 16) or b"").decode(errors="replace")
    return {"status": status, "seconds": seconds, "said": text}


def run(main: Any, order: dict[str, Any], said: int) -> None:
    """In the child: never returns."""
    os.dup2(said, 2)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    sys.stdin.close()
    if "file_size" in order:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_size"],) * 2)
    if "user" in order:
        os.setgid(order["user"])
        os.setuid(order["user"])
    from cea.errors import one_line, status_of

    status = 0
    try:
        main(Namespace(**{name: Path(path) if "/" in path else path for name, path in order["paths"].items()}))
    except BaseException as error:
        status = status_of(error)
        sys.stderr.write(f"error: {one_line(error)}\n")
        if status == 1:
            traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)


def wait(child: int, start: float, delay: float | None) -> int:
    """The child's exit status; killed with all that it started, if ``delay`` seconds pass before it ends."""
    while True:
        done, status = os.waitpid(child, 0 if delay is None else os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - start > (delay or 0):
            try:
                os.killpg(child, signal.SIGKILL)
            except ProcessLookupError:  # it has not become a group of its own yet
                os.kill(child, signal.SIGKILL)
            delay = None
        time.sleep(0.0005)


if __name__ == "__main__":
    serve()
