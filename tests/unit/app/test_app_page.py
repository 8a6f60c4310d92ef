"""The page without a browser: NiceGUI's own simulation of a visitor, and the addresses that it uses."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nicegui", reason="the extra 'app' is not installed")

from nicegui import ElementFilter, ui
from nicegui import app as nicegui_app
from nicegui.testing import User
from nicegui.testing.user_simulation import user_simulation

from cea.app.elements import Compare, Drop, Paint
from cea.app.house import MOST_PHOTOGRAPHS, House, install
from cea.app.limits import Limits
from cea.app.page import page
from cea.app.visit import Step, Visit
from cea.degradations import degrade
from cea.io.images import encode_png, read_photo
from tests.unit.app.test_app_visit import clean, field, restorer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # NiceGUI's and FastAPI's own
]


def visiting(scene: Callable[[User, House], Awaitable[Any]], **limits: int) -> Any:
    """The result of ``scene``, with a page open."""
    house = House(restorer(), Limits(**limits))

    async def main() -> Any:
        async with user_simulation(root=lambda: page(house)) as user:
            install(nicegui_app, house)
            await user.open("/")
            return await scene(user, house)

    return asyncio.run(main())


def folder(house: House) -> str:
    return f"/visit/{next(iter(house.visits))}"


async def put(user: User, house: House, data: bytes, name: str = "a.png") -> Any:
    """Send a file, as the page's script does; it then says so."""
    answer = await user.http_client.put(f"{folder(house)}/photograph", params={"name": name}, content=data)
    if answer.status_code == 200:
        version = one(user, Compare).props.get("before")
        user.find(Drop).trigger("taken")
        await until(lambda: one(user, Compare).props.get("before") != version)
    else:
        user.find(Drop).trigger("refused", answer.json()["error"])
    return answer


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("never true")


def one(user: User, kind: type) -> Any:
    """The only element of a kind."""
    with user:
        return next(iter(ElementFilter(kind=kind)))


def marked(user: User, marker: str) -> Any:
    """The only element with a mark."""
    (found,) = user.find(marker=marker).elements
    return found


def test_a_photograph_is_restored_as_it_comes():
    async def scene(user: User, house: House) -> None:
        await user.should_see("Restore")
        await put(user, house, encode_png(clean()))
        visit = next(iter(house.visits.values()))
        await until(lambda: visit.result is not None and not visit.busy)
        await user.should_see("64 × 48 pixels, restored in")
        await user.should_see("Expected error")
        await user.should_see("Routing")
        compare = one(user, Compare)
        assert compare.visible
        for side, expected in (("before", clean()), ("after", visit.after(1.0).rgb)):
            shown = await user.http_client.get(compare.props[side])
            np.testing.assert_array_equal(read_photo(shown.content).rgb, expected)
            assert shown.headers["cache-control"] == "no-store"
        marked(user, "strength").set_value(0.5)
        got = await user.http_client.get(f"{folder(house)}/download/restored.png", params={"strength": 0.5})
        np.testing.assert_array_equal(read_photo(got.content).rgb, visit.after(0.5).rgb)
        assert got.headers["content-disposition"] == 'attachment; filename="a.restored.png"'
        with user:
            links = {link.text: link.props["href"] for link in ElementFilter(kind=ui.link) if link.visible}
        assert set(links) == {"Restored PNG", "Record JSON"}
        assert links["Restored PNG"].endswith("restored.png?strength=0.5")
        assert json.loads((await user.http_client.get(links["Record JSON"])).content)["strength"] == 0.5

    visiting(scene)


def test_a_bad_file_is_one_clear_line_and_the_next_one_works():
    async def scene(user: User, house: House) -> None:
        answer = await put(user, house, b"no picture", "letter.txt")
        assert answer.status_code == 422
        await user.should_see("letter.txt: not an image in a known format; expected a complete PNG, JPEG")
        answer = await put(user, house, bytes(1_000_001), "big.png")
        assert answer.json()["error"].startswith("big.png: 1.0 megabytes; expected at most 1; ")
        await put(user, house, encode_png(clean()))
        await user.should_see("pixels, restored in", retries=100)
        await user.should_not_see("megabytes; expected")

    visiting(scene, megabytes=1)


def test_degrade_first_with_a_painted_field():
    async def scene(user: User, house: House) -> None:
        marked(user, "mode").set_value("degrade")
        await put(user, house, encode_png(clean()))
        await user.should_see("Degrade and restore")
        visit = next(iter(house.visits.values()))
        assert visit.result is None  # a clean photograph waits
        marked(user, "unevenness").set_value("drawn")
        paint = one(user, Paint)
        assert paint.visible
        user.find(Paint).trigger("field", base64.b64encode(encode_png(field())).decode())
        marked(user, "severity-rain").set_value(0.0)
        user.find(marker="restore").click()
        await until(lambda: visit.result is not None and not visit.busy)
        await user.should_see("PSNR")
        assert {node.field.kind for node in visit.told.record.nodes} == {"array"}
        np.testing.assert_array_equal(visit.told.fields["haze"], field() / np.float32(255))
        changed = np.abs(visit.before.rgb.astype(int) - clean()).max(axis=2)
        assert changed[:, :24].mean() < changed[:, 40:].mean() / 10
        gain = visit.gain(1.0)
        await user.should_see(f"{gain.db:+.2f} dB")
        await user.should_see("rain: ")  # the drawn numbers
        got = await user.http_client.get(f"{folder(house)}/download/degraded.png")
        np.testing.assert_array_equal(read_photo(got.content).rgb, visit.before.rgb)

    visiting(scene)


def test_degrade_alone_and_a_field_that_is_none():
    async def scene(user: User, house: House) -> None:
        marked(user, "mode").set_value("degrade")
        await put(user, house, encode_png(clean()))
        user.find(marker="degrade").click()
        visit = next(iter(house.visits.values()))
        await until(lambda: visit.degraded is not None and not visit.busy)
        recipe = one(user, ui.select)
        np.testing.assert_array_equal(visit.before.rgb, degrade(clean(), recipe.value, 0).image)
        assert visit.result is None
        marked(user, "unevenness").set_value("drawn")
        user.find(marker="degrade").click()
        await user.should_see("no field was drawn; expected strokes over the picture")
        user.find(Paint).trigger("field", "!!")
        await until(lambda: not visit.busy)
        user.find(Paint).trigger("field", base64.b64encode(b"no picture").decode())
        await user.should_see("the field: not an image")

    visiting(scene)


def test_what_nobody_foresaw_is_told_as_such_and_to_the_terminal():
    async def scene(user: User, house: House) -> list[BaseException]:
        faults: list[BaseException] = []
        house.fault = faults.append
        house.restorer.network.forward = lambda *_: 1 / 0  # type: ignore[method-assign]
        house.restorer.network.judged = lambda *_: 1 / 0  # type: ignore[method-assign]
        await put(user, house, encode_png(clean()))
        await user.should_see("this is a fault in the program", retries=100)
        return faults

    assert [type(fault) for fault in visiting(scene)] == [ZeroDivisionError]


def test_a_visit_leaves_nothing():
    async def scene(user: User, house: House) -> None:
        await put(user, house, encode_png(clean()))
        visit = next(iter(house.visits.values()))
        await until(lambda: visit.result is not None and not visit.busy)
        address = f"{folder(house)}/before.png"
        assert (await user.http_client.get(address)).status_code == 200
        user.client.delete()
        assert house.visits == {}
        assert (visit.photo, visit.result) == (None, None)
        assert (await user.http_client.get(address)).status_code == 404

    visiting(scene)


def test_addresses_give_away_nothing():
    async def scene(user: User, house: House) -> None:
        for address in ("/visit/guess/before.png", "/visit/guess/download/record.json", f"{folder(house)}/after.png"):
            assert (await user.http_client.get(address)).status_code == 404
        answer = await user.http_client.put("/visit/guess/photograph", content=encode_png(clean()))
        assert answer.status_code == 404
        visit = next(iter(house.visits.values()))
        visit.busy = True
        answer = await user.http_client.put(f"{folder(house)}/photograph", content=encode_png(clean()))
        assert answer.status_code == 409
        visit.busy = False
        for _ in range(MOST_PHOTOGRAPHS):
            house.enter().take(encode_png(clean()), "a.png")
        answer = await user.http_client.put(f"{folder(house)}/photograph", content=encode_png(clean()))
        assert answer.json()["error"].startswith(f"{MOST_PHOTOGRAPHS} others hold a photograph")

    visiting(scene)


def test_who_waits_is_told():
    async def scene(user: User, house: House) -> None:
        gate = asyncio.Event()

        async def other() -> None:
            async with house.turns.turn(lambda _: None):
                await gate.wait()

        holding = asyncio.create_task(other())
        await asyncio.sleep(0)
        await put(user, house, encode_png(clean()))
        await user.should_see("Waiting, 1 before you", retries=100)
        gate.set()
        await holding
        await user.should_see("pixels, restored in", retries=100)

    visiting(scene)


def test_tiles_are_counted_and_work_can_be_stopped():
    async def scene(user: User, house: House) -> None:
        def restore(visit: Visit, step: Step) -> None:
            while True:  # until the page asks it to end
                step(3, 10)
                time.sleep(0.01)

        house.restore = restore  # type: ignore[method-assign]
        await put(user, house, encode_png(clean()))
        await user.should_see("Restoring, 3 of 10 tiles, 0:0", retries=100)
        user.find("Stop").click()
        visit = next(iter(house.visits.values()))
        await until(lambda: not visit.busy)
        assert visit.result is None
        await user.should_not_see("of 10 tiles")
        assert len(house.turns) == 0

    visiting(scene)


def test_who_leaves_while_the_network_works_leaves_nothing():
    async def scene(user: User, house: House) -> None:
        def restore(visit: Visit, step: Step) -> None:
            while True:
                step(1, 10)
                time.sleep(0.01)

        house.restore = restore  # type: ignore[method-assign]
        await put(user, house, encode_png(clean()))
        visit = next(iter(house.visits.values()))
        await until(lambda: visit.busy and len(house.turns) == 1)
        user.client.delete()
        await until(lambda: len(house.turns) == 0 and not visit.busy)
        assert (house.visits, visit.photo) == ({}, None)

    visiting(scene)
