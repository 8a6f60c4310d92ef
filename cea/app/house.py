"""Who visits, and what they are sent: photographs in, pictures and results out, all from memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from cea.app.drawing import Find, recipe_names
from cea.app.limits import Limits
from cea.app.turns import Turns
from cea.app.visit import Step, Visit
from cea.degradations.engine.shipped import find
from cea.errors import DataError, InputError, one_line
from cea.io.images import encode_png, reduced
from cea.io.photo import Photo
from cea.io.writer import encode_photo
from cea.levels import to_uint8
from cea.restoring.outlook import megapixels_per_second, passed_pixels
from cea.restoring.restorer import Restorer

MOST_PHOTOGRAPHS = 8
"""Visits that may hold a photograph at the same time."""

SHOWN_SIDE = 2048
"""Longest side, in pixels, of what is shown; what is downloaded is whole."""

_NO_STORE = {"Cache-Control": "no-store"}


@dataclass
class House:
    """One server.

    Attributes:
        restorer: the network.
        limits: the largest photograph.
        tile: as in `cea.restoring.restorer.Restorer.restore`.
        recipes: names offered.
        find: where recipes come from.
        fault: told of each error that nobody foresaw.
        speed: megapixels that the network takes per second, once known.
        visits: by token.
        turns: the queue.
    """

    restorer: Restorer
    limits: Limits = field(default_factory=Limits)
    tile: int | None = None
    recipes: list[str] = field(default_factory=recipe_names)
    find: Find = find
    fault: Callable[[BaseException], None] = lambda error: None
    speed: float | None = None
    visits: dict[str, Visit] = field(default_factory=dict)
    turns: Turns = field(default_factory=Turns)

    def enter(self) -> Visit:
        """A new visit."""
        visit = Visit(self.restorer, self.limits, self.find, self.tile)
        self.visits[visit.token] = visit
        return visit

    def leave(self, visit: Visit) -> None:
        """The end of a visit: all that it held goes."""
        self.visits.pop(visit.token, None)
        visit.forget()

    def say(self, error: BaseException) -> str:
        """Any error as one line for the visitor."""
        if not isinstance(error, InputError | MemoryError):
            self.fault(error)
        return one_line(error)

    def restore(self, visit: Visit, step: Step | None = None) -> None:
        """Restore the photograph of ``visit``; the first one of all after the network was timed.

        Raises:
            ImageError: not enough memory.
        """
        if self.speed is None:
            self.speed = megapixels_per_second(visit.restorer.network)
        visit.restore(step)

    def seconds(self, visit: Visit) -> float | None:
        """How long a restoration of it takes, as far as one knows."""
        if self.speed is None:
            return None
        height, width = visit.before.rgb.shape[:2]
        return passed_pixels(height, width, self.tile) / 1e6 / self.speed

    def check_room(self, visit: Visit) -> None:
        """Refuse one photograph more than memory is meant for.

        Raises:
            DataError: as many visits hold one already.
        """
        others = [other for other in self.visits.values() if other is not visit and other.photo is not None]
        if len(others) >= MOST_PHOTOGRAPHS:
            raise DataError(
                f"{len(others)} others hold a photograph",
                expected=f"fewer than {MOST_PHOTOGRAPHS}",
                remedy="try again in some minutes",
            )


def install(app: FastAPI, house: House) -> None:
    """The addresses of ``house``, below ``/visit/<token>/``."""

    @app.put("/visit/{token}/photograph", include_in_schema=False)
    async def take(token: str, request: Request, name: str = "photograph") -> Response:
        visit = house.visits.get(token)
        if visit is None:
            return _error(404, "this page was closed; expected an open one; reload it")
        if visit.busy:
            return _error(409, "a picture is being worked on; expected its end; press Stop, or wait")
        try:
            house.check_room(visit)
            data = await _body(request, house.limits, name)
            await asyncio.to_thread(visit.take, data, name)
        except Exception as error:
            return _error(422, house.say(error))
        return JSONResponse({})

    @app.get("/visit/{token}/{what}.png", include_in_schema=False)
    async def picture(token: str, what: str) -> Response:
        shown = _shown(house.visits.get(token), what)
        if shown is None:
            return _error(404, "no such picture")
        return await _made(house, lambda: encode_png(_small(shown())), "image/png", {})

    @app.get("/visit/{token}/download/{what}", include_in_schema=False)
    async def download(token: str, what: str, strength: float = 1.0) -> Response:
        visit = house.visits.get(token)
        made = None if visit is None or not 0 <= strength <= 1 else _file(visit, what, strength)
        if made is None:
            return _error(404, "no such result; expected one of an open page; go back to it")
        name, kind, content = made
        return await _made(house, content, kind, {"Content-Disposition": f'attachment; filename="{name}"'})


async def _made(house: House, content: Callable[[], bytes], kind: str, headers: dict[str, str]) -> Response:
    """What ``content`` makes, in a thread; or why it cannot, when the photograph was changed meanwhile."""
    try:
        return Response(await asyncio.to_thread(content), media_type=kind, headers=_NO_STORE | headers)
    except Exception as error:
        return _error(422, house.say(error))


async def _body(request: Request, limits: Limits, name: str) -> bytes:
    """The file, which is given up as soon as it is too large."""
    limits.check_size(int(request.headers.get("content-length") or 0), name)
    data = bytearray()
    async for part in request.stream():
        data += part
        limits.check_size(len(data), name)
    return bytes(data)


def _error(status: int, line: str) -> Response:
    return JSONResponse({"error": line}, status_code=status, headers=_NO_STORE)


def _shown(visit: Visit | None, what: str) -> Callable[[], Photo] | None:
    if visit is None or visit.photo is None:
        return None
    given = visit.photo
    if what == "clean":
        return lambda: given
    if what == "before":
        return lambda: visit.before
    return (lambda: visit.after(1.0)) if what == "after" and visit.result is not None else None


def _small(photo: Photo) -> np.ndarray:
    return np.ascontiguousarray(reduced(to_uint8(photo.over_white()), SHOWN_SIDE))


def _file(visit: Visit, what: str, strength: float) -> tuple[str, str, Callable[[], bytes]] | None:
    """Name, kind and bytes of a result; None where there is none."""
    if what == "degraded.png" and visit.degraded is not None:
        photo = visit.before
        return f"{visit.stem}.degraded.png", "image/png", lambda: encode_photo(photo, ".png")[0]
    if visit.result is None:
        return None
    if what == "restored.png":
        return f"{visit.stem}.restored.png", "image/png", lambda: visit.png(strength)
    if what == "record.json":
        return (
            f"{visit.stem}.record.json",
            "application/json",
            lambda: (json.dumps(visit.record(strength), indent=1, allow_nan=False) + "\n").encode(),
        )
    return None
