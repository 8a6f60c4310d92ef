"""The page: a photograph in, before and after, what the network makes of it; or degraded first, and then restored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from nicegui import ui

from cea.app.degrading import Degrading
from cea.app.elements import SEGMENTS, Compare, Drop, Paint, show
from cea.app.house import House
from cea.app.overlays import Overlay, estimated, routed
from cea.app.turns import Stop, StoppedError
from cea.errors import InputError
from cea.progress import clock

_STYLE = Path(__file__).with_name("page.css")


def page(house: House) -> None:
    """Build the page for one visitor."""
    ui.add_css(_STYLE)
    ui.colors(primary="var(--accent)")
    _Page(house)


class _Page:
    def __init__(self, house: House) -> None:
        self.house, self.visit, self.stop = house, house.enter(), Stop()
        self.client = ui.context.client
        self.client.on_delete(self._left)
        self.client.on_exception(lambda error: self._fail(house.say(error)))
        self.version, self.before, self.started = 0, 0, 0.0
        self.done, self.total, self.doing = 0, 0, ""
        self.view, self.sites = "compare", dict[str, list[str]]()
        self.overlays: dict[str, Overlay] = {}
        self._header()
        with ui.element("main").classes("page"):
            with ui.element("section").classes("stage"):
                self._stage()
            with ui.element("section").classes("panel"):
                self._panel()
        self.ticker = ui.timer(0.25, self._tick, active=False)
        self._fail("")
        self.degrading.begin_anew()
        self._refresh()

    # What is on it

    def _header(self) -> None:
        with ui.element("header").classes("head"):
            ui.label("CEA").classes("brand")
            ui.label("image restoration").classes("muted")
            ui.element("span").classes("spring")
            ui.label(f"Weights: {self.house.restorer.name}").classes("muted weights")

    def _stage(self) -> None:
        limits = self.house.limits
        self.failure = ui.label().classes("failure").props("role=alert")
        self.drop = Drop(
            f"/visit/{self.visit.token}/photograph",
            hint=f"PNG, JPEG, TIFF, WebP and others, up to {limits.megapixels} megapixels and {limits.megabytes} MB",
            size=limits.size,
        )
        self.drop.on("taken", self._taken)
        self.drop.on("refused", lambda event: self._fail(str(event.args)))
        self.compare = Compare().mark("compare")
        self.paint = Paint().mark("paint")
        self.paint.on("field", lambda event: self.degrading.painted(event))
        with ui.element("div").classes("routing") as self.grid:
            self.site = ui.toggle([], on_change=lambda: self._show_site()).props(SEGMENTS).classes("seg")
            self.thumbs = ui.element("div").classes("thumbs")
        with ui.element("div").classes("working") as self.working:
            with ui.element("div").classes("group spring"):
                self.progress = ui.linear_progress(0, show_value=False).props("rounded instant-feedback")
                self.progress_text = ui.label().classes("muted small")
            ui.button("Stop", on_click=lambda: self.stop.ask()).props("no-caps outline")
        self.views = ui.toggle({}, on_change=self._view_changed).props(SEGMENTS).classes("seg views")
        self.legend = ui.label().classes("muted legend")
        with ui.element("div").classes("results") as self.results:
            self.gain = ui.label().classes("gain")
            self.facts = ui.label().classes("muted facts")
            with ui.element("div").classes("links"):
                self.degraded_link = ui.link("Degraded PNG").props("download")
                self.restored_link = ui.link("Restored PNG").props("download")
                self.record_link = ui.link("Record JSON").props("download")
        self.warnings = ui.label().classes("warning")

    def _panel(self) -> None:
        self.mode = (
            ui.toggle({"restore": "Restore", "degrade": "Degrade first"}, value="restore", on_change=self._mode_changed)
            .props(f"{SEGMENTS} spread")
            .classes("seg wide")
            .mark("mode")
        )
        with ui.element("div").classes("group") as self.degrading_group:
            self.degrading = Degrading(self.house, self.paint, fail=self._fail, moved=self._uneven_changed)
        with ui.element("div").classes("group"):
            with ui.element("div").classes("line"):
                ui.label("Strength of the restoration")
                self.strength_text = ui.label("1.00").classes("muted")
            self.strength = ui.slider(min=0, max=1, step=0.05, value=1, on_change=self._strength_moved)
            self.strength.classes("strength").mark("strength")
            self.strength.on("change", self._measure)
        with ui.element("div").classes("buttons"):
            self.degrade_button = ui.button("Degrade", on_click=self._degrade).props("no-caps outline").mark("degrade")
            self.restore_button = (
                ui.button("Restore", on_click=self._restore).props("no-caps unelevated").mark("restore")
            )

    # What happens

    def _left(self) -> None:
        self.stop.ask()
        self.house.leave(self.visit)

    async def _taken(self) -> None:
        self.degrading.field = None
        self._fail("")
        self.degrading.begin_anew()
        self._new_pictures()
        self.paint.run_method("clear")
        self._refresh()
        if self.mode.value == "restore":
            await self._restore()

    def _mode_changed(self) -> None:
        self.visit.undo()
        self._new_pictures()
        self._refresh()

    def _uneven_changed(self) -> None:
        if self.degrading.is_painted and self.visit.photo is not None:
            self.view = "clean"
        self._refresh()

    def _view_changed(self) -> None:
        self.view = self.views.value or "compare"
        self._show_view()

    def _strength_moved(self) -> None:
        self.strength_text.set_text(f"{self.strength.value:.2f}")
        show(self.compare, strength=self.strength.value)
        self._show_links()

    async def _measure(self) -> None:
        strength = float(self.strength.value)
        version = self.version
        try:
            gain = await asyncio.to_thread(self.visit.gain, strength)
        except InputError:  # meanwhile there is another photograph
            return
        if gain is None or self.client.is_deleted or version != self.version:
            return
        self.gain.set_text(f"{gain.db:+.2f} dB")
        self.facts.set_text(f"PSNR {gain.before:.2f} → {gain.after:.2f} dB at strength {strength:.2f}\n{self._facts()}")

    async def _degrade(self) -> None:
        wish = self.degrading.wish()
        if await self._work("Degrading", lambda _: self.visit.degrade(wish)):
            self.degrading.tell(self.visit)

    async def _restore(self) -> None:
        wish = self.degrading.wish() if self.mode.value == "degrade" else None

        def work(step: Callable[[int, int], None]) -> None:
            if wish is not None:
                self.visit.degrade(wish)
                self.stop.check()
            self.doing, self.started = "Restoring", time.monotonic()
            self.house.restore(self.visit, step)

        if await self._work("Restoring" if wish is None else "Degrading", work):
            self.degrading.tell(self.visit)
            await self._measure()

    async def _work(self, doing: str, work: Callable[[Callable[[int, int], None]], None]) -> bool:
        """Do ``work(step)`` in turn; whether it was done."""
        if self.visit.busy or self.visit.photo is None:
            return False
        self.stop = stop = Stop()
        self.visit.busy, self.doing, self.done, self.total = True, doing, 0, 0
        self.started = time.monotonic()
        self._fail("")
        self._refresh()

        def step(done: int, total: int) -> None:
            stop.check()
            self.done, self.total = done, total

        try:
            await self.house.turns.run(lambda: work(step), self._told, stop)
            return not self.client.is_deleted
        except StoppedError:
            return False
        except Exception as error:
            self._fail(self.house.say(error))
            return False
        finally:
            self.visit.busy = False
            if self.client.is_deleted:
                self.visit.forget()
            else:
                self._new_pictures()
                self._refresh()

    def _told(self, before: int) -> None:
        self.before = before
        if before == 0:
            self.started = time.monotonic()

    def _tick(self) -> None:
        """Say how far it is: by its tiles, or by the time that its pixels take."""
        spent, share = time.monotonic() - self.started, 0.0
        expected = self.house.seconds(self.visit) if self.doing == "Restoring" else None
        if self.before:
            text = f"Waiting, {self.before} before you"
        elif self.total > 1 and self.done:
            share = self.done / self.total
            text = f"{self.doing}, {self.done} of {self.total} tiles, {clock(spent / share - spent)} to go"
        elif expected is not None and spent < expected:
            share = spent / expected
            text = f"{self.doing}, about {clock(expected - spent)} to go"
        else:
            text = f"{self.doing}, {clock(spent)} so far"
        self.progress_text.set_text(text)
        self.progress.set_value(share)
        self.progress.props(remove="indeterminate") if share else self.progress.props("indeterminate")

    # What is seen

    def _fail(self, line: str) -> None:
        if not self.client.is_deleted:
            self.failure.set_text(line)
            self.failure.set_visibility(bool(line))

    def _new_pictures(self) -> None:
        self.version += 1
        self.overlays, self.sites = {}, {}
        self.view = "compare" if self.visit.degraded or self.visit.result else "clean"

    def _refresh(self) -> None:
        visit, is_degrading = self.visit, self.mode.value == "degrade"
        has_photo, busy = visit.photo is not None, visit.busy
        show(self.drop, small=has_photo, off=busy)
        self.ticker.active = busy
        self.working.set_visibility(busy)
        if busy:
            self._tick()
        self.mode.set_enabled(not busy)
        self.degrading_group.set_visibility(is_degrading)
        self.degrading.brushes.set_visibility(self.degrading.is_painted)
        self.degrade_button.set_visibility(is_degrading and not busy)
        self.restore_button.set_visibility(not busy and (is_degrading or visit.result is None))
        self.restore_button.set_text("Degrade and restore" if is_degrading else "Restore")
        for button in (self.degrade_button, self.restore_button):
            button.set_enabled(has_photo)
        self.results.set_visibility(not busy and (visit.result is not None or visit.degraded is not None))
        self.gain.set_text("")
        self.facts.set_text(self._facts())
        notes = [*(visit.photo.notes if visit.photo else ()), *(visit.result.warnings if visit.result else ())]
        self.warnings.set_text("\n".join(map(_sentence, notes)))
        self.warnings.set_visibility(bool(notes) and not busy)
        self.degrading.numbers.set_visibility(visit.told is not None)
        self._show_links()
        self._show_view()

    def _facts(self) -> str:
        result = self.visit.result
        if result is None:
            return ""
        height, width = self.visit.before.rgb.shape[:2]
        return f"{width} × {height} pixels, restored in {result.seconds:.1f} s"

    def _show_links(self) -> None:
        folder, result = f"/visit/{self.visit.token}/download", self.visit.result is not None
        query = f"?strength={self.strength.value:g}"
        for link, name, there in (
            (self.degraded_link, "degraded.png", self.visit.degraded is not None),
            (self.restored_link, f"restored.png{query}", result),
            (self.record_link, f"record.json{query}", result),
        ):
            link.set_visibility(there)
            link.props["href"] = f"{folder}/{name}"
            link.update()

    def _show_view(self) -> None:
        visit = self.visit
        has_photo, painting = visit.photo is not None, self.degrading.is_painted and self.mode.value == "degrade"
        views = {} if not has_photo else self._views(painting)
        self.view = self.view if self.view in views else next(iter(views), "compare")
        if self.views.options != views or self.views.value != self.view:
            self.views.set_options(views, value=self.view if views else None)
        self.views.set_visibility(len(views) > 1)
        is_paint = has_photo and painting and self.view == "clean"
        self.paint.set_visibility(is_paint)
        self.grid.set_visibility(has_photo and self.view == "routing")
        self.compare.set_visibility(has_photo and not is_paint and self.view != "routing")
        self.legend.set_text("")
        if not has_photo:
            return
        height, width = visit.before.rgb.shape[:2]
        pictures = f"/visit/{visit.token}/{{}}.png?{self.version}"
        show(self.paint, picture=pictures.format("clean"), width=width, height=height)
        shown = "clean" if self.view == "clean" and visit.degraded is not None else "before"
        has_after = self.view == "compare" and visit.result is not None
        show(
            self.compare,
            before=pictures.format(shown),
            after=pictures.format("after") if has_after else "",
            overlay="",
            width=width,
            height=height,
            left_label="degraded" if visit.degraded is not None else "before",
            right_label="restored",
            strength=self.strength.value,
        )
        if self.view == "routing":
            ui.timer(0, self._route, once=True)
        elif self.view not in ("compare", "clean"):
            self._show_overlay()

    def _views(self, painting: bool) -> dict[str, str]:
        visit = self.visit
        views = {}
        if self.mode.value == "degrade":
            views["clean"] = "Paint" if painting else "Clean"
        if visit.result is not None:
            views["compare"] = "Degraded | restored" if visit.degraded is not None else "Before | after"
            if not self.overlays:
                self.overlays = estimated(visit)
            views |= {name: overlay.title for name, overlay in self.overlays.items()}
            if visit.has_routing:
                views["routing"] = "Routing"
        elif visit.degraded is not None:
            views["compare"] = "Degraded"
        elif not views:
            views["compare"] = "Photograph"
        return views

    def _show_overlay(self) -> None:
        overlay = self.overlays[self.view]
        show(self.compare, overlay=overlay.picture)
        self.legend.set_text(overlay.legend)

    async def _route(self) -> None:
        """Make the routing maps, the first time they are asked for."""
        version = self.version
        if not self.sites:
            self.legend.set_text("Looking into the network …")
            made: dict[str, list[str]] = {}
            try:
                await self.house.turns.run(lambda: made.update(routed(self.visit)), lambda _: None, Stop())
            except Exception as error:
                self._fail(self.house.say(error))
            if self.client.is_deleted or version != self.version or self.view != "routing":
                return
            self.sites = made
            self.site.set_options(list(made), value=next(iter(made), None))
        self._show_site()

    def _show_site(self) -> None:
        if self.view != "routing" or self.site.value not in self.sites:
            return
        self.thumbs.clear()
        height, width = self.visit.before.rgb.shape[:2]
        with self.thumbs:
            for number, picture in enumerate(self.sites[self.site.value], 1):
                with ui.element("figure").classes("thumb").style(f"aspect-ratio: {width} / {height}"):
                    ui.element("img").props(f'src="/visit/{self.visit.token}/before.png?{self.version}" alt=""')
                    ui.element("img").props(f'src="{picture}" alt="expert {number}"')
        self.legend.set_text(
            "How strongly each expert acts where, <x, a>: orange adds its direction, blue subtracts it. "
            "Full colour is the 99th percentile of the site."
        )


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."
