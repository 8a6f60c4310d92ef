"""A server of files over HTTP that can be told to fail: what a network and a careless upload do to shards."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Fault = Callable[["Handler", bytes], None]
"""Answers a request for a file, whose bytes it is given, in a way of its own."""


@dataclass
class FileServer:
    """What is served, how it fails, and what was asked for.

    Attributes:
        address: ``http://127.0.0.1:<port>``.
        faults: path -> a fault and how many more times it happens.
        asked: path -> requests so far.
    """

    address: str = ""
    faults: dict[str, tuple[Fault, int]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def fail(self, path: str, fault: Fault, times: int = 1_000_000) -> None:
        """From now on, requests for ``path`` end in ``fault``, so many times."""
        self.faults[path] = fault, times


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; ``state`` says where it fails."""

    def __init__(self, *arguments: object, state: FileServer, **options: object) -> None:
        self.state = state
        super().__init__(*arguments, **options)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        self.state.asked[path] += 1
        fault, times = self.state.faults.get(path, (None, 0))
        if fault is None or times < 1:
            return super().do_GET()
        self.state.faults[path] = fault, times - 1
        fault(self, Path(self.translate_path(self.path)).read_bytes())
        return None

    def send(self, data: bytes, *, stated: int | None = None) -> None:
        """200 with ``data``, and with a length that may be another one."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) if stated is None else stated))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


def status(code: int) -> Fault:
    """An answer of that status."""
    return lambda handler, _: handler.send_error(code)


def truncated(handler: Handler, data: bytes) -> None:
    """Half of the file, said to be all."""
    handler.send(data[: len(data) // 2])


def broken_off(handler: Handler, data: bytes) -> None:
    """Half of the file, then the line is dead."""
    handler.send(data[: len(data) // 2], stated=len(data))


def flipped(at: int) -> Fault:
    """One bit of the file is another one."""

    def answer(handler: Handler, data: bytes) -> None:
        handler.send(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])

    return answer


def instead(path: Path) -> Fault:
    """Another file."""
    return lambda handler, _: handler.send(path.read_bytes())


def endless(handler: Handler, data: bytes) -> None:
    """More than there is, and no length."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    try:
        for _ in range(1000):
            handler.wfile.write(data)
    except OSError:
        return


def slow(seconds: float) -> Fault:
    """The file in two halves with a pause."""

    def answer(handler: Handler, data: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])
        handler.wfile.flush()
        time.sleep(seconds)
        handler.wfile.write(data[len(data) // 2 :])

    return answer


@contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    """Serve ``folder`` on a free port of the loopback interface while the block lasts."""
    state = FileServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder), state=state))
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
