"""Headless Chromium through its DevTools protocol over a pipe: no driver, no port, nothing downloaded."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str:
    """The program; skips the test where none is installed."""
    found = os.environ.get("CEA_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is installed; set CEA_CHROMIUM to one")
    return found


class Browser:
    """One tab.

    Attributes:
        requests: addresses of all that the tab asked for.
        complaints: what its console said as error or warning, and exceptions.
    """

    def __init__(self, writes: int, reads: int) -> None:
        self._writes, self._reads, self._number, self._rest = writes, reads, 0, b""
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer; events that come in between are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while True:
            told = self._read()
            if told.get("id") == self._number:
                assert "error" not in told, f"{method}: {told['error']}"
                return told["result"]
            self._keep(told)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._reads], [], [], 60)[0], "the browser does not answer"
            part = os.read(self._reads, 1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _keep(self, told: dict[str, Any]) -> None:
        params = told.get("params", {})
        match told.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(params["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def see(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """The window's size, its colours, and whether fingers are used."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Go to ``url``."""
        self.call("Page.navigate", url=url)

    def js(self, code: str) -> Any:
        """The value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> Any:
        """The value of an expression once it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.js(f"(() => {{ try {{ return {condition} }} catch (error) {{ return false }} }})()")
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(f"never true in {seconds} s: {condition}\n{self.js('document.body.innerText')}")

    def wait_text(self, text: str, seconds: float = 60) -> None:
        """Wait until the page shows ``text``."""
        self.wait(f"document.body.innerText.includes({json.dumps(text)})", seconds)

    def point(self, selector: str) -> tuple[float, float]:
        """The middle of an element, scrolled into view, once it stays where it is."""
        middle = (
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({ block: 'center' });"
            "const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2] })()"
        )
        before = self.wait(middle)
        for _ in range(50):
            time.sleep(0.1)
            now = self.wait(middle)
            if now == before:
                break
            before = now
        return before[0], before[1]

    def click(self, selector: str) -> None:
        """Press the mouse on the middle of an element."""
        x, y = self.point(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def click_text(self, text: str) -> None:
        """Press the button, option or link that is called ``text``."""
        mark = (
            "(() => { const all = [...document.querySelectorAll('button, a, [role=option], label')]"
            f".filter(e => e.innerText.trim() === {json.dumps(text)} && e.offsetParent);"
            "document.querySelectorAll('[data-found]').forEach(e => e.removeAttribute('data-found'));"
            "if (!all.length) return false; all[0].setAttribute('data-found', ''); return true })()"
        )
        self.wait(mark)
        self.click("[data-found]")

    def drag(self, selector: str, path: list[tuple[float, float]]) -> None:
        """Draw with the mouse held over an element, along points in shares of its size."""
        self.point(selector)
        left, top, width, height = self.js(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return [b.left, b.top, b.width, b.height] })()"
        )
        places = [(left + x * width, top + y * height) for x, y in path]
        kinds = ["mousePressed", *["mouseMoved"] * (len(places) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*places, places[-1]], strict=True):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def drop(self, file: Path, selector: str = "main") -> None:
        """Drop a file over an element, as from a file manager."""
        x, y = self.point(selector)
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """What the tab shows, as PNG; ``whole``: beyond the window, too."""
        done = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(done["data"]))


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A fresh browser that keeps what it must in ``profile``."""
    there, reads = os.pipe(), os.pipe()

    def ends() -> None:  # the browser reads commands from 3 and writes answers to 4
        first, second = os.dup(there[0]), os.dup(reads[1])
        os.dup2(first, 3)
        os.dup2(second, 4)

    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command = [chromium(), *flags, *quiet, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
    with subprocess.Popen(
        command, preexec_fn=ends, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        os.close(there[0])
        os.close(reads[1])
        try:
            yield Browser(there[1], reads[0])
        finally:
            os.close(there[1])
            process.terminate()
            process.wait(20)
            os.close(reads[0])
