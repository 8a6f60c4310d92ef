"""What a photograph does not say: how far things are and how they are lit.

A user's own maps win; else inverse depth is procedural (ground plane to a horizon, relief above it) and the light map
is an edge-preserving smoothing of the brightest channel. Their few numbers are drawn and kept in the record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cea.config import Config
from cea.degradations.exact import compiled
from cea.degradations.exact.fractal import fractal
from cea.degradations.exact.maps import box_mean, resized, stretched
from cea.errors import ImageError, RecordError
from cea.io.images import pixel_sha256
from cea.levels import LEVEL_F32, from_codes, unit_float
from cea.types import ImageU8, Map

Convention = Literal["inverse", "metric"]


class SceneParams(Config):
    """Numbers of the procedural maps."""

    horizon: float = Field(ge=0, le=1)
    """Height of the horizon, as a share of the frame from its top."""
    tilt: float = Field(ge=-1, le=1)
    """How far the horizon falls from left to right, as a share of the frame's height."""
    relief: float = Field(ge=0, le=1)
    """Inverse depth of the nearest thing that stands on the ground plane; the farthest has half of it."""
    cells: int = Field(ge=1, le=64)
    """Lumps of the relief along the longer side."""
    light_radius_px: int = Field(ge=1, le=256)
    """Radius of the guided filter that makes the light map."""
    stream: int = Field(ge=-(1 << 63), lt=1 << 64)
    """Seed of the relief."""
    depth_given: bool = False
    """Whether the sample was drawn for a depth map of its image; the numbers above then make the light map only."""
    depth_sha256: str | None = None
    """Digest of that depth map (see ``map_sha256``) where the caller showed it when drawing; None: any will do."""
    light_sha256: str | None = None
    """Digest of the light map that the sample was drawn for; None: it was drawn for none of its own."""


def draw_scene(rng: np.random.Generator) -> SceneParams:
    """Draw the numbers of the procedural maps."""
    return SceneParams(
        horizon=_between(rng, 0.0, 0.6),
        tilt=_between(rng, -0.1, 0.1),
        relief=_between(rng, 0.5, 1.0),
        cells=int(rng.integers(2, 6)),
        light_radius_px=int(rng.integers(15, 31)),
        stream=int(rng.integers(0, 1 << 63)),
    )


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(low + (high - low) * rng.random())


class CropWindow(Config):
    """Where a crop lies in its frame, in pixels."""

    top: int
    """First row."""
    left: int
    """First column."""
    height: int
    """Rows of the frame."""
    width: int
    """Columns of the frame."""


def procedural_depth(params: SceneParams, small: Map, shape: tuple[int, int], window: CropWindow) -> Map:
    """Inverse depth of a ground plane, things that stand on it, and sky; (H, W) float32 in [0, 1], near = 1.

    The inverse depth of a plane grows linearly below its horizon. Things are fractal relief, and cover the plane
    where they are nearer. What is bright and lies above the horizon passes for sky, infinitely far. All of it is
    smooth and made at quarter resolution.

    Args:
        params: the drawn numbers.
        small: (h, w) max-RGB of the image, shrunk (see ``shrunk``).
        shape: (H, W) of the image.
        window: where the image lies in its frame.
    """
    rows = (window.top + (np.arange(small.shape[0]) + 0.5) * shape[0] / small.shape[0]) / window.height
    columns = (window.left + (np.arange(small.shape[1]) + 0.5) * shape[1] / small.shape[1]) / window.width
    slant = params.tilt * (columns - 0.5)
    things = fractal(small.shape, params.stream, params.cells, octaves=4)
    brightness = box_mean(small, 3)
    relief, rise = 0.5 * params.relief, 1 / (1.0 - min(params.horizon, 0.95))
    if compiled.takes(brightness, things):
        compiled.call("ground", rows, slant, params.horizon, brightness, relief, rise, *things.shape, things)
        return stretched(things, shape)
    below = (rows[:, None] - slant[None, :] - params.horizon).astype(np.float32)
    things *= np.float32(relief)
    things += np.float32(relief)
    things *= 1 - _sky(brightness, below)
    below *= np.float32(rise)
    return stretched(np.clip(np.maximum(below, things), 0, 1), shape)


def _sky(brightness: Map, below: Map) -> Map:
    """1 where it is bright and well above the horizon, 0 where dark or below, soft between; (h, w)."""
    bright = np.clip((brightness - np.float32(0.45)) * np.float32(2.5), 0, 1)
    above = np.clip((np.float32(0.15) - below) * np.float32(1 / 0.3), 0, 1)
    return bright * bright * (3 - 2 * bright) * above


def light_map(pixels: ImageU8, brightness: Callable[[], Map], small: Map, radius_px: int) -> Map:
    """Illumination as a self-guided filter (eps .05) of max-RGB, (H, W) float32 in (0, 1].

    Its means are taken at quarter resolution (He and Sun 2015): the coefficients are smooth anyway.

    Args:
        pixels: (H, W, 3).
        brightness: gives their max-RGB (see ``brightest``).
        small: that, shrunk (see ``shrunk``).
        radius_px: radius of the filter in pixels of the image.
    """
    height, width = pixels.shape[:2]
    coefficients = np.stack(_self_guided(small, 2 * max(1, radius_px * small.shape[0] // height) + 1))
    if compiled.takes() and pixels.flags.c_contiguous:
        light = np.empty((height, width), np.float32)
        compiled.call("light", pixels, LEVEL_F32, coefficients, *small.shape, height, width, light)
        return light
    slope, offset = (resized(coefficient, (height, width)) for coefficient in coefficients)
    light = slope * brightness()
    light += offset
    return np.clip(light, 1e-3, 1, out=light)


def brightest(image: ImageU8) -> Map:
    """Max-RGB in [0, 1], (H, W) float32."""
    red, green, blue = cv2.split(image)
    return from_codes(np.maximum(np.maximum(red, green), blue)).reshape(image.shape[:2])


def shrunk(pixels: ImageU8, brightness: Callable[[], Map]) -> Map:
    """Max-RGB at a quarter of the resolution, or whole if the image is small; (h, w) float32.

    Args:
        pixels: (H, W, 3).
        brightness: gives their max-RGB (see ``brightest``).
    """
    height, width = pixels.shape[:2]
    scale = 4 if min(height, width) >= 64 else 1
    if scale == 4 and height % 4 == width % 4 == 0 and compiled.takes() and pixels.flags.c_contiguous:
        small = np.empty((height // 4, width // 4), np.float32)
        compiled.call("quartered", pixels, LEVEL_F32, height, width, small)
        return small
    return resized(brightness(), (-(-height // scale), -(-width // scale)), cv2.INTER_AREA)


def _self_guided(guide: Map, side: int, eps: float = 0.05) -> tuple[Map, Map]:
    mean = box_mean(guide, side)
    if compiled.takes(guide):
        square = box_mean(guide * guide, side)
        compiled.call("self_guided", mean, square, eps, mean.size)
        return box_mean(mean, side), box_mean(square, side)
    variance = np.maximum(box_mean(guide * guide, side) - mean * mean, 0)
    slope = variance / (variance + np.float32(eps))
    return box_mean(slope, side), box_mean(mean * (1 - slope), side)


def map_sha256(values: NDArray[Any]) -> str:
    """Digest of a user's map as rendering takes it: the same for 8 or 16 bits, float32 and float64 of equal values."""
    return pixel_sha256(_unit(values))


def own_map(values: NDArray[Any], what: str, drawn_for: str | None) -> Map:
    """A user's depth or light map as (H, W) float32.

    Args:
        values: (H, W), unsigned integers over their full range or floats in [0, 1].
        what: ``depth map`` or ``light map``, for messages.
        drawn_for: digest of the map that the record was drawn for, or None.

    Raises:
        ImageError: another shape or range.
        RecordError: another map than the record was drawn for.
    """
    unit = _unit(values)
    if unit.ndim != 2 or unit.size == 0 or not (unit.min() >= 0 and unit.max() <= 1):
        reach = f" with values in [{unit.min():g}, {unit.max():g}]" if unit.size else ""
        raise ImageError(
            f"a {what} of shape {unit.shape}{reach}",
            expected="(H, W) values in [0, 1]" + (", near = 1" if "depth" in what else ""),
            remedy="convert it first"
            + (", with cea.degradations.engine.scene.as_inverse_depth" if "depth" in what else ""),
        )
    if drawn_for is not None and map_sha256(unit) != drawn_for:
        raise RecordError(
            f"a {what} with the digest {map_sha256(unit)[:12]}",
            expected=f"the one that the sample was drawn for, {drawn_for[:12]}",
            remedy=f"pass that {what}, or draw the sample again",
        )
    return unit


def _unit(values: NDArray[Any]) -> Map:
    return unit_float(np.asarray(values))


def as_inverse_depth(depth: NDArray[Any], convention: Convention) -> Map:
    """A user's depth map as inverse depth in [0, 1], near = 1, (H, W) float32.

    Args:
        depth: (H, W) or (H, W, 3); integers are taken over their full range, floats as they are.
        convention: ``inverse`` (near is large: disparity, MiDaS, Depth Anything) in [0, 1], or ``metric``
            (far is large, any unit; zero or non-finite means unknown and is taken as farthest).

    Raises:
        ImageError: wrong shape, nothing finite, or an inverse depth outside [0, 1].
    """
    values = np.asarray(depth)
    if values.ndim == 3:
        values = values[..., 0]
    if values.ndim != 2 or values.size == 0:
        raise _depth_error(f"a depth map of shape {np.shape(depth)}", "(H, W)", "pass one channel")
    values = unit_float(values)
    return _from_metric(values) if convention == "metric" else _checked_inverse(values)


def _from_metric(values: Map) -> Map:
    """nearest / distance: 1 at the nearest (first percentile), towards 0 far away."""
    known = np.isfinite(values) & (values > 0)
    if not known.any():
        raise _depth_error("a metric depth map without a positive value", "distances > 0", "check the file")
    nearest = np.partition(values[known], int(known.sum()) // 100)[int(known.sum()) // 100]
    safe = np.where(known, values, np.inf)
    return np.minimum(nearest / safe, 1).astype(np.float32)


def _checked_inverse(values: Map) -> Map:
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise _depth_error(
            f"an inverse depth map with values in [{values.min():g}, {values.max():g}]",
            "[0, 1], near = 1",
            "divide by its maximum, or declare the convention 'metric'",
        )
    return values


def _depth_error(what: str, expected: str, remedy: str) -> ImageError:
    return ImageError(what, expected=expected, remedy=remedy)


def sign_warning(inverse_depth: Map) -> str | None:
    """A sentence if an inverse depth map looks upside down, else None.

    In most photographs the ground at the bottom is nearer than what is at the top; a map that says clearly
    otherwise usually holds distances where inverse depth was declared.
    """
    third = max(1, inverse_depth.shape[0] // 3)
    top, bottom = (float(cv2.mean(band)[0]) for band in (inverse_depth[:third], inverse_depth[-third:]))
    if bottom >= top - 0.1:
        return None
    return (
        f"the depth map says that the top of the image (mean inverse depth {top:.2f}) is nearer than its bottom "
        f"({bottom:.2f}); inverse depth has near = 1: if the map holds distances, declare the convention 'metric' "
        "or pass 1 - map"
    )
