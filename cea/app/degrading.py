"""How a clean photograph is degraded first: recipe, seed, where it acts, and severities set by hand."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from nicegui import events, ui

from cea.app.drawing import Wish, labels_of
from cea.app.elements import SEGMENTS, Paint, show
from cea.app.house import House
from cea.app.visit import Visit
from cea.errors import InputError, one_line
from cea.io.images import read_photo
from cea.types import ImageU8

_MOST_ROWS = 5
"""Components whose severity can be set before anything is drawn; of recipes with more, those that were drawn."""

_LARGEST_FIELD = 2_000_000
"""Bytes of Base64 that a drawn field may have."""


class Degrading:
    """The controls, built where they are made.

    Args:
        house: has the recipes.
        paint: on which a field is drawn.
        fail: shows an error's line.
        moved: called where another place of action is chosen.
    """

    def __init__(self, house: House, paint: Paint, *, fail: Callable[[str], None], moved: Callable[[], None]) -> None:
        self._house, self._paint, self._fail = house, paint, fail
        self.severities: dict[str, float] = {}
        self.field: ImageU8 | None = None
        self._build(moved)

    @property
    def is_painted(self) -> bool:
        """Whether it acts where one paints."""
        return bool(self.unevenness.value == "drawn")

    def _build(self, moved: Callable[[], None]) -> None:
        names = self._house.recipes
        first = next((name for name in names if name.endswith("low_haze_rain")), names[0])
        self.recipe = ui.select(names, value=first, label="Recipe", on_change=self.begin_anew)
        self.recipe.props("outlined dense options-dense").classes("wide")
        with ui.element("div").classes("line"):
            self.seed = ui.number("Seed", value=0, min=0, max=2**31 - 1, step=1, precision=0).props("outlined dense")
            ui.button("Next", on_click=self._next_seed).props("no-caps flat dense").classes("quiet")
        ui.label("Where it acts")
        self.unevenness = (
            ui.toggle({"even": "Even", "random": "Random", "drawn": "Painted"}, value="even", on_change=moved)
            .props(f"{SEGMENTS} spread")
            .classes("seg wide")
            .mark("unevenness")
        )
        with ui.element("div").classes("group") as self.brushes:
            with ui.element("div").classes("line"):
                ui.label("Brush").classes("muted")
                self.brush = ui.slider(min=0.05, max=0.5, step=0.05, value=0.2, on_change=self._brush_changed)
            with ui.element("div").classes("line"):
                self.eraser = ui.switch("Erase", on_change=self._brush_changed).props("dense")
                ui.button("Clear", on_click=lambda: self._paint.run_method("clear")).props(
                    "no-caps flat dense"
                ).classes("quiet")
            self.driven = ui.select({"": "all"}, value="", label="Acts on").props("outlined dense options-dense")
            self.driven.classes("wide")
        self.rows = ui.element("div").classes("rows")
        with ui.element("details").classes("numbers") as self.numbers:
            with ui.element("summary"):
                ui.label("Drawn numbers")
            self.drawn_text = ui.label().classes("muted small")

    def begin_anew(self) -> None:
        """Sliders for the recipe that is chosen, none of them moved."""
        self.severities = {}
        try:
            labels = labels_of(self._house.find(self.recipe.value)[1])
        except InputError as error:
            self._fail(one_line(error))
            labels = []
        self.driven.set_options({"": "all"} | {label: label for label in labels}, value="")
        self._fill_rows(labels if len(labels) <= _MOST_ROWS else [])

    def _next_seed(self) -> None:
        self.seed.value = int(self.seed.value or 0) + 1

    def _brush_changed(self) -> None:
        show(self._paint, brush=self.brush.value, erase=self.eraser.value)

    def painted(self, event: events.GenericEventArguments) -> None:
        """Take over the field; what no page of ours sends is told as any bad file."""
        self.field = None
        if not event.args:
            return
        try:
            data = base64.b64decode(str(event.args)[:_LARGEST_FIELD], validate=True)
            self.field = read_photo(data, "the field").rgb[..., 0]
        except (InputError, binascii.Error) as error:
            self._fail(one_line(error))

    def wish(self) -> Wish:
        """What is set."""
        return Wish(
            self.recipe.value,
            int(self.seed.value or 0),
            self.unevenness.value,
            dict(self.severities),
            self.field,
            self.driven.value or None,
        )

    def tell(self, visit: Visit) -> None:
        """Sliders for what was drawn, of recipes that draw a choice; and all numbers."""
        told = visit.told
        if told is None:
            return
        if len(labels_of(self._house.find(self.recipe.value)[1])) > _MOST_ROWS:
            self._fill_rows([node.label for node in told.record.nodes])
        self.drawn_text.set_text("\n".join(f"{node.label}: {_short(node.params)}" for node in told.record.nodes))

    def _fill_rows(self, labels: list[str]) -> None:
        self.rows.clear()
        with self.rows:
            for label in labels:
                self._row(label)

    def _row(self, label: str) -> None:
        def tell() -> None:
            by_hand = self.severities.get(label)
            button.set_text("drawn" if by_hand is None else f"{by_hand:.2f} ×")
            button.set_enabled(by_hand is not None)
            slider.classes(remove="idle") if by_hand is not None else slider.classes("idle")

        def moved() -> None:
            self.severities[label] = float(slider.value)
            tell()

        def reset() -> None:
            self.severities.pop(label, None)
            tell()

        with ui.element("div").classes("line"):
            ui.label(label.replace("_", " ")).classes("name")
            slider = ui.slider(min=0, max=1, step=0.05, value=self.severities.get(label, 0.5), on_change=moved)
            slider.mark(f"severity-{label}")
            button = ui.button(on_click=reset).props("no-caps flat dense").classes("quiet value")
            with button:
                ui.tooltip("Severity by hand; press to leave it to the seed")
        tell()


def _short(params: dict[str, Any]) -> str:
    """Drawn numbers as one line."""

    def word(value: Any) -> str:
        if isinstance(value, list):
            is_long = len(value) > 3 or any(isinstance(entry, dict | list) for entry in value)
            return f"{len(value)} of them" if is_long else " ".join(map(word, value))
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name.replace('_', ' ')} {word(value)}" for name, value in params.items())
