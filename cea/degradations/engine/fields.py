"""Smooth maps in [0, 1] over the image that drive how strongly a degradation acts where.

Each kind is a small record of drawn numbers; ``field_map`` turns it into pixels. Nothing here is per-pixel
transcendental, so the maps are the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import Field, Strict, TypeAdapter

from cea.config import Config
from cea.degradations.contract.ranges import Unit, Within
from cea.degradations.exact.elementary import cos_sin
from cea.degradations.exact.fractal import Shape, lumps
from cea.degradations.exact.maps import resized, stretched
from cea.errors import RecordError
from cea.io.images import pixel_sha256, read_rgb
from cea.levels import unit_float
from cea.types import Map

_Angle: TypeAlias = Annotated[float, Within(-3600, 3600)]
_Place: TypeAlias = Annotated[float, Within(-100, 100)]
_Size: TypeAlias = Annotated[float, Within(1e-6, 1000)]
_Patch: TypeAlias = Annotated[tuple[_Place, _Place, _Size], Strict(False)]


class _Field(Config):
    low: Unit = 0.0
    """Strength where the field is weakest."""
    high: Unit = 1.0
    """Strength where the field is strongest."""
    parameter: str | None = None
    """The one number of the family that it multiplies; None: the strength of the family as a whole."""


class Constant(_Field):
    """``high`` everywhere."""

    kind: Literal["constant"] = "constant"


class Gradient(_Field):
    """Linear from ``low`` to ``high`` along a direction."""

    kind: Literal["gradient"] = "gradient"
    angle_deg: _Angle
    """Direction of growth; 0 = to the right, 90 = downwards."""


class Radial(_Field):
    """``high`` at a centre, falling smoothly to ``low`` at a radius."""

    kind: Literal["radial"] = "radial"
    row: _Place
    """Centre, as a share of the height."""
    column: _Place
    """Centre, as a share of the width."""
    radius: _Size
    """Where it reaches ``low``, as a share of the longer side."""


class Fractal(_Field):
    """Smooth fractal noise."""

    kind: Literal["fractal"] = "fractal"
    cells: int = Field(ge=1, le=64)
    """Lumps along the longer side in the first octave."""
    octaves: int = Field(ge=1, le=8)
    """Number of octaves, each twice as fine and half as strong."""
    stream: int = Field(ge=-(1 << 63), lt=1 << 64)
    """Seed of its numbers."""


class Blobs(_Field):
    """A few soft round patches; the strongest patch counts."""

    kind: Literal["blobs"] = "blobs"
    centres: list[_Patch] = Field(min_length=1, max_length=256)
    """Per patch row, column (shares of height and width) and radius (share of the longer side)."""


class HalfPlane(_Field):
    """``low`` on one side of a line and ``high`` on the other, with a soft edge."""

    kind: Literal["half_plane"] = "half_plane"
    angle_deg: _Angle
    """Direction from the weak to the strong side."""
    offset: _Place
    """Signed distance of the edge from the image's centre, as a share of the longer side."""
    softness: _Size
    """Width of the edge, as a share of the longer side."""


class Depth(_Field):
    """Driven by the scene: strong in the distance, or nearby."""

    kind: Literal["depth"] = "depth"
    near: bool
    """Whether near things are hit hardest."""


class ImageFile(_Field):
    """The grey values of an image file, stretched over the image."""

    kind: Literal["image"] = "image"
    path: str
    """The file."""
    sha256: str | None = None
    """Digest of its decoded pixels, entered when drawn; rendering with other pixels is refused."""


class Array(_Field):
    """An array that the caller hands to ``render(..., fields={label: array})``."""

    kind: Literal["array"] = "array"
    sha256: str
    """Digest of the array as float32 (see `cea.io.images.pixel_sha256`)."""


FieldSpec: TypeAlias = Annotated[
    Constant | Gradient | Radial | Fractal | Blobs | HalfPlane | Depth | ImageFile | Array,
    Field(discriminator="kind"),
]
ADAPTER: TypeAdapter[FieldSpec] = TypeAdapter(FieldSpec)

DRAWN = ("gradient", "radial", "fractal", "blobs", "half_plane", "depth")
"""The kinds that are drawn at random for non-uniform samples."""

KINDS = ("constant", *DRAWN, "image", "array")


def draw_field(kind: str, rng: np.random.Generator, settings: Mapping[str, Any] | None = None) -> FieldSpec:
    """Draw the numbers of one field of ``kind``; ``settings`` fixes some of them.

    Raises:
        pydantic.ValidationError: a setting that the kind does not know or allow.
    """
    drawn = _DRAWS[kind](rng) if kind in _DRAWS else {}
    low = 0.4 * float(rng.random())
    return ADAPTER.validate_python({"kind": kind, "low": low, **drawn, **(settings or {})})


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(low + (high - low) * rng.random())


def _draw_blobs(rng: np.random.Generator) -> dict[str, Any]:
    count = int(rng.integers(2, 6))
    return {"centres": [[_between(rng, 0, 1), _between(rng, 0, 1), _between(rng, 0.2, 0.5)] for _ in range(count)]}


_DRAWS: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "gradient": lambda rng: {"angle_deg": _between(rng, 0, 360)},
    "radial": lambda rng: {
        "row": _between(rng, 0.1, 0.9),
        "column": _between(rng, 0.1, 0.9),
        "radius": _between(rng, 0.4, 0.9),
    },
    "fractal": lambda rng: {
        "cells": int(rng.integers(2, 5)),
        "octaves": int(rng.integers(1, 4)),
        "stream": int(rng.integers(0, 1 << 63)),
    },
    "blobs": _draw_blobs,
    "half_plane": lambda rng: {
        "angle_deg": _between(rng, 0, 360),
        "offset": _between(rng, -0.2, 0.2),
        "softness": _between(rng, 0.05, 0.4),
    },
    "depth": lambda rng: {"near": bool(rng.integers(0, 2))},
}


def field_map(spec: FieldSpec, shape: Shape, inverse_depth: Callable[[], Map], array: Map | None = None) -> Map:
    """The field as (H, W) float32 between ``spec.low`` and ``spec.high``.

    Args:
        spec: the drawn numbers.
        shape: (H, W).
        inverse_depth: called for the ``depth`` kind only.
        array: the caller's own map, for the ``array`` kind only.

    Raises:
        RecordError: an image file or array that is missing or not the one that was drawn with.
    """
    return stretched(_shape(spec, shape, inverse_depth, array), shape, spec.low, spec.high)


def _shape(spec: FieldSpec, shape: Shape, inverse_depth: Callable[[], Map], array: Map | None) -> Map:
    """The field between 0 and 1, (H, W) or smaller."""
    match spec:
        case Constant():
            return np.ones(shape, np.float32)
        case Gradient():
            return _gradient(spec, shape)
        case Radial():
            return _bump(shape, spec.row, spec.column, spec.radius)
        case Fractal():
            return lumps(shape, spec.stream, spec.cells, spec.octaves)
        case Blobs():
            return reduce(np.maximum, (_bump(shape, *centre) for centre in spec.centres))
        case HalfPlane():
            along = _along(shape, spec.angle_deg) - np.float32(spec.offset)
            return _smoothstep(along / np.float32(spec.softness) + np.float32(0.5))
        case Depth():
            depth = inverse_depth()
            return depth.copy() if spec.near else 1 - depth
        case ImageFile():
            return _image_field(spec, shape)
        case Array():
            return _array_field(spec, shape, array)


def _axes(shape: Shape) -> tuple[Map, Map]:
    """Pixel centres as (H, 1) rows and (1, W) columns, relative to the centre, in units of the longer side."""
    height, width = shape
    longer = max(shape)
    rows = (np.arange(height) - (height - 1) / 2) / longer
    columns = (np.arange(width) - (width - 1) / 2) / longer
    return rows.astype(np.float32)[:, None], columns.astype(np.float32)[None, :]


def _along(shape: Shape, angle_deg: float) -> Map:
    cos, sin = cos_sin(angle_deg)
    rows, columns = _axes(shape)
    return columns * np.float32(cos) + rows * np.float32(sin)


def _gradient(spec: Gradient, shape: Shape) -> Map:
    along = _along(shape, spec.angle_deg)
    least, most = along.min(), along.max()
    return (along - least) / max(most - least, np.float32(1e-6))


def _smoothstep(x: Map) -> Map:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _bump(shape: Shape, row: float, column: float, radius: float) -> Map:
    rows, columns = _axes(shape)
    longer = max(shape)
    dy = rows - np.float32((row - 0.5) * shape[0] / longer)
    dx = columns - np.float32((column - 0.5) * shape[1] / longer)
    return _smoothstep(1 - (dy * dy + dx * dx) * np.float32(1 / radius**2))


def _image_field(spec: ImageFile, shape: Shape) -> Map:
    pixels = read_rgb(Path(spec.path))
    digest = pixel_sha256(pixels)
    if spec.sha256 is not None and digest != spec.sha256:
        raise RecordError(
            f"field image {spec.path} has pixels {digest[:12]}...",
            expected=f"{spec.sha256[:12]}..., the ones it was drawn with",
            remedy="restore the file or draw the records again",
        )
    return resized(unit_float(pixels.max(axis=2)), shape)


def _array_field(spec: Array, shape: Shape, array: Map | None) -> Map:
    digest = None if array is None else pixel_sha256(np.asarray(array, np.float32))
    if array is None or digest != spec.sha256:
        raise RecordError(
            "a field array is missing" if array is None else f"a field array has digest {digest}",
            expected=f"the (H, W) array with digest {spec.sha256}",
            remedy="pass it as render(..., fields={label: array})",
        )
    values = np.clip(np.asarray(array, np.float32), 0, 1)
    return resized(values, shape)
