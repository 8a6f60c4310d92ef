"""What the network makes of a photograph, as colours to lay over it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cea.app.visit import Visit
from cea.io.images import reduced
from cea.report.images import affinity_colours, data_uri, severity_colours
from cea.restoring.receipt import GREY_LEVELS_PER_STEP
from cea.types import ImageU8

_SIDE, _THUMB_SIDE, _QUALITY = 1024, 480, 85


class Overlay(NamedTuple):
    """One map.

    Attributes:
        title: of the view.
        picture: a data URI, transparent where the map is 0.
        legend: what its colour means.
    """

    title: str
    picture: str
    legend: str


def estimated(visit: Visit) -> dict[str, Overlay]:
    """The maps of the receipt: expected error, and severities where the network gives them."""
    return {name: _overlay(visit, name, values) for name, values in visit.maps().items()}


def _overlay(visit: Visit, name: str, values: ImageU8) -> Overlay:
    if name != "error":
        component = name.partition(".")[2].replace("_", " ")
        legend = f"Estimated severity of {component}: mean {values.mean() / 255:.2f}; full colour is 1."
        return Overlay(component.capitalize(), _picture(values, 255), legend)
    facts = visit.estimated()["expected_error"]
    top = max(int(values.max()), 1)
    legend = (
        f"Error that the network expects of the picture before restoring: {facts['grey_levels']:.1f} of 255 levels in "
        f"the mean ({facts['db']:.1f} dB); full colour is {top * GREY_LEVELS_PER_STEP:.0f} levels."
    )
    return Overlay("Expected error", _picture(values, top), legend)


def _picture(values: ImageU8, top: int) -> str:
    small = reduced(values, _SIDE).astype(np.float32) * np.float32(255 / top)
    return data_uri(severity_colours(np.rint(small).astype(np.uint8)), _QUALITY)


def routed(visit: Visit) -> dict[str, list[str]]:
    """The maps of all experts by site, as data URIs: orange is positive, blue negative."""
    return {
        site.replace("_", " "): [data_uri(picture, _QUALITY) for picture in affinity_colours(stack, _THUMB_SIDE)]
        for site, stack in visit.routing().items()
    }
