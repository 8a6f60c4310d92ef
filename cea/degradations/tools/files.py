"""Degrading image files: draw, render, write the picture and, on request, its maps and its record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import Rendered
from cea.degradations.engine.scene import Convention, as_inverse_depth
from cea.degradations.exact.planes import as_rgb8
from cea.degradations.tools.images import drawn_and_rendered, named_maps
from cea.errors import ImageError
from cea.io.arrays import one_channel
from cea.io.images import encode_png, pixel_sha256, read_photo, write_bytes
from cea.io.photo import Photo
from cea.io.writer import LOSSLESS_SUFFIXES, write_photo
from cea.levels import to_uint16, unit_float
from cea.types import Map

SUFFIXES = LOSSLESS_SUFFIXES - {".pgm", ".pnm"}
"""What a degraded photograph may be written as: its pixels are read back as they were rendered."""


@dataclass(frozen=True)
class DegradeOptions:
    """What to do to each photograph.

    Attributes:
        name: the recipe's name, without slashes.
        recipe: what to draw.
        seed: the root seed; the same photograph and seed give the same pixels.
        uneven: whether smooth fields drive the strengths.
        inverse_depth: the scene's own map (see ``read_depth``), or None for a procedural one.
        light: the scene's own illumination, or None.
    """

    name: str
    recipe: RecipeConfig
    seed: int
    uneven: bool = False
    inverse_depth: Map | None = None
    light: Map | None = None

    def settings(self) -> dict[str, str | int | bool | None]:
        """All of it as plain values; the recipe and the maps by their SHA-256."""
        text = self.recipe.model_dump_json().encode()
        depth, light = (None if each is None else pixel_sha256(each) for each in (self.inverse_depth, self.light))
        return {
            "recipe": self.name,
            "recipe_sha256": hashlib.sha256(text).hexdigest(),
            "seed": self.seed,
            "uneven": self.uneven,
            "depth": depth,
            "light": light,
        }


@dataclass(frozen=True)
class Degraded:
    """A degraded photograph.

    Attributes:
        record: every drawn number.
        rendered: the picture and its maps.
        photo: the photograph with the degraded pixels, ready to be written: EXIF and resolution are kept.
        notes: what one may want to know of how it was read, a sentence each.
    """

    record: Record
    rendered: Rendered
    photo: Photo
    notes: tuple[str, ...]


def degrade(source: Path, options: DegradeOptions) -> Degraded:
    """Draw a sample of the recipe for the photograph in ``source`` and render it, in 8 bits, with all its maps.

    Raises:
        ImageError: a photograph that cannot be read, or maps of another aspect.
    """
    photo = read_photo(source)
    clean = as_rgb8(photo.over_white())
    record, rendered = drawn_and_rendered(
        clean,
        options.name,
        options.recipe,
        options.seed,
        uneven=options.uneven,
        inverse_depth=options.inverse_depth,
        light=options.light,
        clean_id="".join("_" if character in "./" else character for character in source.stem) or "image",
    )
    return as_degraded(photo, record, rendered)


def as_degraded(photo: Photo, record: Record, rendered: Rendered) -> Degraded:
    """``rendered`` pixels in place of those of ``photo``, and what one may want to know of how it was read."""
    notes = list(photo.notes)
    if photo.alpha is not None:
        notes.append("laid over white: what is degraded has no transparency")
    if photo.rgb.dtype == np.uint16:
        notes.append("reduced to 8 bits: degradations are rendered in 8 bits")
    return Degraded(record, rendered, replace(photo, rgb=rendered.degraded, alpha=None), tuple(notes))


def read_depth(path: Path, convention: Convention, scale: float | None = None) -> Map:
    """A depth map from an image, an EXR or a .npy file, as inverse depth (H, W) float32 in [0, 1], near = 1.

    Args:
        path: see `cea.io.arrays.one_channel`.
        convention: ``inverse`` (near is large) or ``metric`` (far is large, any unit).
        scale: the number in the file that means 1; None: the greatest one of 8 or 16 bits, and 1 of floats.

    Raises:
        ImageError: it cannot be read, or is no depth map in that convention.
    """
    values = _scaled(one_channel(path), scale)
    try:
        return as_inverse_depth(values, convention)
    except ImageError as error:
        remedy = error.remedy if convention == "metric" else f"state --depth-scale (what means 1), or {error.remedy}"
        raise ImageError(f"{path}: {error.what}", expected=error.expected, remedy=remedy) from None


def read_light(path: Path, scale: float | None = None) -> Map:
    """An illumination map from an image, an EXR or a .npy file, (H, W) float32 in [0, 1]; ``scale`` as in `read_depth`.

    Raises:
        ImageError: it cannot be read, has colours, or floats outside [0, 1].
    """
    values = _scaled(one_channel(path), scale)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise ImageError(
            f"{path}: a light map with values in [{values.min():g}, {values.max():g}]",
            expected="[0, 1], bright = 1",
            remedy="state --light-scale: the number that means 1",
        )
    return values


def _scaled(values: NDArray[Any], scale: float | None) -> Map:
    return unit_float(values) if scale is None else (values / np.float64(scale)).astype(np.float32)


def write(target: Path, made: Degraded, *, with_maps: bool, with_record: bool) -> tuple[str, ...]:
    """Write the picture to ``target``, its maps to ``<target>.<component>.<map>.png``, its record to ``<target>.json``.

    Maps are 16-bit: 65535 is 1. The picture comes last, so that where it lies, the rest lies too.

    Returns:
        What the picture's format could not hold.
    """
    for name, values in (named_maps(made.record, made.rendered) if with_maps else {}).items():
        deep = to_uint16(values)
        beside = target.with_suffix(f".{name.replace('/', '.')}.png")
        write_bytes(beside, encode_png(np.ascontiguousarray(deep)))
    if with_record:
        write_bytes(target.with_suffix(".json"), made.record.model_dump_json(indent=2).encode() + b"\n")
    return write_photo(target, made.photo)


def is_written(target: Path, *, with_maps: bool, with_record: bool) -> bool:
    """Whether all that `write` would write lies there."""
    maps = target.parent.glob(f"{escape(target.stem)}.*.png") if with_maps else iter((target,))
    return target.is_file() and (not with_record or target.with_suffix(".json").is_file()) and any(maps)
