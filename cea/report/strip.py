"""The README's picture: a few test images as rows of input, restored, clean."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from cea.errors import ConfigError, DataError
from cea.io.images import atomic_path
from cea.report.config import StripConfig
from cea.report.inputs import Strip, read_strips
from cea.report.page import signed, words
from cea.types import ImageU8

_PAPER, _INK, _SOFT = (255, 255, 255), (31, 35, 36), (110, 115, 113)
_GAP, _HEAD, _LABEL, _EDGE = 8, 34, 26, 14
"""Pixels between tiles, for the column heads, for the text under a row, around everything."""


def example_strip(pictures: Path, out: Path, config: StripConfig | None = None) -> None:
    """Write a picture with a row per recipe (input | restored | clean, its scores below) to ``out``.

    Args:
        pictures: folder that `cea.evaluation.examples.write_pictures` wrote.
        out: the file; its suffix tells the format (png is lossless, jpg and webp are a fifth of the size).
        config: which recipes, and the size of a tile.

    Raises:
        DataError: no pictures there, or the disk is full.
        ConfigError: a recipe without a picture.
    """
    config = config or StripConfig()
    rows = _choose([strip for strip in read_strips(pictures) if not strip.picture.worst], config, pictures)
    image = _paint(rows, config)
    with atomic_path(out) as temporary:
        image.save(temporary, quality=90) if out.suffix in (".jpg", ".jpeg", ".webp") else image.save(temporary)


def _choose(strips: list[Strip], config: StripConfig, folder: Path) -> list[Strip]:
    if not strips:
        raise DataError(f"{folder}: no pictures", expected="what evaluate writes", remedy="run evaluate first")
    first: dict[str, Strip] = {}
    for strip in strips:
        first.setdefault(strip.picture.recipe, strip)
    missing = [recipe for recipe in config.recipes if recipe not in first]
    if missing:
        raise ConfigError(
            f"report.strip.recipes names {missing[0]!r}, which has no picture",
            expected=f"recipes out of {', '.join(first)}",
            remedy="change report.strip.recipes or raise evaluate.examples.per_recipe",
        )
    if config.recipes:
        return [first[recipe] for recipe in config.recipes]
    places = np.linspace(0, len(first) - 1, min(config.rows, len(first))).round().astype(int)
    return [list(first.values())[index] for index in places]


def _paint(rows: list[Strip], config: StripConfig) -> PilImage.Image:
    width, height = config.tile_width, config.tile_height
    size = (2 * _EDGE + 3 * width + 2 * _GAP, _EDGE + _HEAD + len(rows) * (height + _LABEL + _GAP))
    canvas = PilImage.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    head, text = ImageFont.load_default(17), ImageFont.load_default(14)
    for column, name in enumerate(("input", "restored", "clean")):
        draw.text((_EDGE + column * (width + _GAP), _EDGE), name, fill=_INK, font=head)
    for number, strip in enumerate(rows):
        top = _EDGE + _HEAD + number * (height + _LABEL + _GAP)
        for column, image in enumerate((strip.input, strip.restored, strip.clean)):
            tile = PilImage.fromarray(cover(image, width, height))
            canvas.paste(tile, (_EDGE + column * (width + _GAP), top))
        draw.text((_EDGE, top + height + 5), _caption(strip), fill=_SOFT, font=text)
    return canvas


def _caption(strip: Strip) -> str:
    picture = strip.picture
    gain = signed(picture.output_psnr - picture.input_psnr).replace("\u2212", "-")
    return f"{words(picture.recipe)}:  {picture.input_psnr:.2f} to {picture.output_psnr:.2f} dB ({gain})"


def cover(image: ImageU8, width: int, height: int) -> ImageU8:
    """``image`` scaled to cover ``width`` x ``height`` and cropped to it: the middle, or what is above it (faces)."""
    factor = max(width / image.shape[1], height / image.shape[0])
    size = (max(width, round(image.shape[1] * factor)), max(height, round(image.shape[0] * factor)))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    top, left = (scaled.shape[0] - height) // 4, (scaled.shape[1] - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])
