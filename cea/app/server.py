"""Serving the page: the address is checked first, then NiceGUI runs on it until Ctrl-C."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from cea.app.house import House, install
from cea.app.page import page
from cea.errors import ConfigError, DataError
from cea.io.limits import LIMIT, largest_pixels

_RECONNECT_SECONDS = 60
"""How long a visit waits for a browser that was cut off: a phone sleeps, a tab is in the background."""

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Place:
    """Where the page is served.

    Attributes:
        host: a name or address of this machine.
        port: 1 to 65535.
    """

    host: str = "127.0.0.1"
    port: int = 8080

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        """Its address for a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def bind(self) -> socket.socket:
        """A socket on it; taken from here on.

        Raises:
            DataError: the port is taken.
            ConfigError: no address of this machine, or a port that may not be used.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            bound = socket.socket(found[0], found[1])
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(found[4])
        except PermissionError:
            raise ConfigError(
                f"--port {self.port}: not allowed", expected="a port from 1024 on", remedy="pass another --port"
            ) from None
        except OSError as error:
            if error.errno == 98 or "in use" in str(error).lower():
                raise DataError(
                    f"port {self.port} of {self.host} is taken",
                    expected="a free port",
                    remedy=f"pass --port {self.port % 65535 + 1}, or end what uses it",
                ) from None
            raise ConfigError(
                f"--host {self.host}: {error.strerror or error}",
                expected="a name or an address of this machine",
                remedy="leave --host out, or pass 0.0.0.0 for all of its addresses",
            ) from None
        return bound


def serve(house: House, bound: socket.socket, place: Place, ready: Callable[[], None]) -> None:
    """Serve the page of ``house`` on the socket ``bound`` until interrupted.

    Args:
        house: what to serve.
        bound: of ``place``.
        place: requests from a browser under another name are refused where it is this machine's own.
        ready: called once it answers.
    """
    import uvicorn
    from fastapi import FastAPI
    from nicegui import app, ui
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    most = min(largest_pixels() // 10**6, house.limits.megapixels)
    os.environ[LIMIT] = str(most)  # the reader refuses by the header what the page does not take
    outer = FastAPI(openapi_url=None)
    install(app, house)
    ui.run_with(
        outer,
        root=lambda: page(house),
        title="CEA",
        dark=None,
        language="en-US",
        tailwind=False,
        favicon=_ICON,
        reconnect_timeout=_RECONNECT_SECONDS,
        show_welcome_message=False,
    )
    if place.is_loopback:  # a name of somebody else's that was made to point here is none of ours
        outer.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOOPBACK_NAMES, place.host])
    app.on_startup(ready)
    config = uvicorn.Config(outer, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[bound])


_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b5a6f"/>'
    '<path d="M16 4v24" stroke="#fff" stroke-width="2"/><path d="M16 9a7 7 0 0 1 0 14z" fill="#fff"/></svg>'
)
