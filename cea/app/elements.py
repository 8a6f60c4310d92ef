"""The page's own elements; what each does in the browser stands in the script of its name."""

from __future__ import annotations

from nicegui import ui

SEGMENTS = "no-caps unelevated dense toggle-color=seg toggle-text-color=seg"
"""Of toggles; the colour has no rule but the page's."""

ACCEPTED = "image/*,.tif,.tiff,.jp2,.tga,.pnm,.ppm,.pgm,.avif"


class Drop(ui.element, component="drop.js"):
    """Takes one file and puts it to ``url``; events ``taken`` and ``refused`` (with one line)."""

    def __init__(self, url: str, *, hint: str, size: int) -> None:
        super().__init__()
        self._props |= {"url": url, "hint": hint, "bytes": size, "accept": ACCEPTED}


class Compare(ui.element, component="compare.js"):
    """Two pictures, or one, with a map over them."""


class Paint(ui.element, component="paint.js"):
    """A strength map over a picture; event ``field`` with a grey PNG in Base64, empty where there is none."""


def show(element: ui.element, **props: object) -> None:
    """Set properties of an element of this page, and send them."""
    element._props |= {name.replace("_", "-"): value for name, value in props.items()}
    element.update()
