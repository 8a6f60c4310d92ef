"""Contact sheets: every family by severity, every shipped recipe by draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cea.degradations.contract.base import STAGES
from cea.degradations.contract.registry import FAMILIES
from cea.degradations.engine.draw import draw
from cea.degradations.engine.fields import Gradient
from cea.degradations.engine.recipes import RecipeConfig, members, plan
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import render
from cea.degradations.engine.shipped import find, settings
from cea.io.images import pixel_sha256
from cea.rng import SampleKey
from cea.types import ImageU8

SEVERITIES = (0.25, 0.5, 0.75, 1.0)
DRAWS = 3
_BAND = 18  # height in px of the caption above a tile


@dataclass(frozen=True)
class Sheet:
    """How a contact sheet is laid out.

    Attributes:
        width: of a tile, px; a tile shows the photograph at half size.
        seed: root seed of all draws.
    """

    width: int = 256
    seed: int = 3


def families(photos: Sequence[ImageU8], names: Iterable[str], sheet: Sheet) -> ImageU8:
    """One row per family: the photograph, severities up to 1, and the whole strength from left to right.

    Args:
        photos: (H, W, 3) uint8, the first one for weather and light, the last one for the rest.
        names: registered families.
        sheet: layout.
    """
    rows = []
    for name in names:
        clean = _prepared(_fitting(photos, [name]), sheet)
        tiles = [_tile(clean, name)]
        tiles += [_tile(_at(name, clean, severity, sheet, None), f"severity {severity:g}") for severity in SEVERITIES]
        uneven = Gradient(angle_deg=0.0)
        tiles.append(_tile(_at(name, clean, 1.0, sheet, uneven), "0 to 1 from left to right"))
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def recipes(photos: Sequence[ImageU8], names: Iterable[str], sheet: Sheet) -> ImageU8:
    """Two recipes per row, each with two even draws and an uneven one.

    Args:
        photos: (H, W, 3) uint8, the first one for weather and light, the last one for the rest.
        names: shipped recipes.
        sheet: layout.
    """
    strips = [_strip(name, photos, sheet) for name in names]
    height = max(strip.shape[0] for strip in strips)
    padded = [
        cv2.copyMakeBorder(s, 0, height - s.shape[0], 0, 6, cv2.BORDER_CONSTANT, value=(255,) * 3) for s in strips
    ]
    padded += [np.full_like(padded[0], 255)] * (len(padded) % 2)
    return np.vstack([np.hstack(padded[i : i + 2]) for i in range(0, len(padded), 2)])


def family_names() -> list[str]:
    """All registered families in the order of image formation."""
    return sorted(FAMILIES, key=lambda name: (STAGES.index(FAMILIES[name].stage), name))


def recipe_names() -> list[str]:
    """All shipped recipes."""
    return list(settings())


def _fitting(photos: Sequence[ImageU8], used: Iterable[str]) -> ImageU8:
    outdoors = any(FAMILIES[family].stage in ("scene", "weather") for family in used)
    return photos[0 if outdoors else -1]


def _strip(name: str, photos: Sequence[ImageU8], sheet: Sheet) -> ImageU8:
    label, recipe = find(name)
    clean = _prepared(_fitting(photos, (node.family for node in members(plan(recipe)))), sheet)
    tiles = []
    for variant in range(DRAWS):
        record = _record(label, recipe, clean, SampleKey(sheet.seed, pixel_sha256(clean), label, variant), variant == 2)
        drawn = " ".join(node.label for node in record.nodes)
        caption = (name, drawn, f"uneven: {drawn}")[variant]
        tiles.append(_tile(render(record, clean).degraded, caption))
    return np.hstack(tiles)


def _at(name: str, clean: ImageU8, severity: float, sheet: Sheet, field: Gradient | None) -> ImageU8:
    """A family alone at ``severity``; the stream is the same for all severities."""
    kind = FAMILIES[name]
    recipe = RecipeConfig(nodes={name: {}})
    drawn = _record(name, recipe, clean, SampleKey(sheet.seed, pixel_sha256(clean), name, 0), False)
    params = kind(kind.Ranges()).at(severity).model_dump(mode="json")
    node = drawn.nodes[0].model_copy(update={"params": params, "field": field})
    return render(drawn.model_copy(update={"nodes": (node,)}), clean).degraded


def _record(name: str, recipe: RecipeConfig, clean: ImageU8, key: SampleKey, nonuniform: bool) -> Record:
    return draw(
        name, recipe, key, clean_id="photo", split="test", crop=None, nonuniform=nonuniform, clean=lambda: clean
    )


def _prepared(photo: ImageU8, sheet: Sheet) -> ImageU8:
    """The photograph cut to 3:2 around its centre, twice as large as a tile."""
    height, width = photo.shape[:2]
    rows, columns = min(height, width * 2 // 3), min(width, height * 3 // 2)
    top, left = (height - rows) // 2, (width - columns) // 2
    cut = np.ascontiguousarray(photo[top : top + rows, left : left + columns])
    size = (2 * sheet.width, 2 * (sheet.width * 2 // 3))
    return np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_AREA), np.uint8)


def _tile(image: ImageU8, caption: str) -> ImageU8:
    """Half size, with a caption above."""
    small = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    framed = cv2.copyMakeBorder(small, _BAND, 2, 0, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    fitting = caption if len(caption) * 6 < framed.shape[1] else caption[: framed.shape[1] // 6 - 2] + ".."
    cv2.putText(framed, fitting, (2, _BAND - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (40, 40, 40), 1, cv2.LINE_AA)
    return np.asarray(framed, np.uint8)
