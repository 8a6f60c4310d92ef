"""Outlines of dead leaves: discs, ellipses, blades, polygons, bars, stars and blobs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_VERTICES = 32
_SMALL = 9.0
"""Radius in pixels below which a quarter of the vertices is enough."""


def _table(values: list[float]) -> NDArray[np.float64]:
    # Rounded to 2^-14, far coarser than what the C library's sine differs by between machines.
    return np.rint(np.array(values) * 2**14) / 2**14


_COS = _table([math.cos(2 * math.pi * step / 1024) for step in range(1024)])


def outlines(
    rng: np.random.Generator, centre: NDArray[np.float64], radius: NDArray[np.float64]
) -> list[NDArray[np.int32]]:
    """Closed outlines around ``centre`` (N, 2; x, y) with outer ``radius`` (N,), both in pixels.

    Returns:
        Per leaf (V, 2) int32 vertices (x, y) in quarter pixels.
    """
    count = len(radius)
    shape = _templates(rng)[(rng.random(count) * 24).astype(int)] * radius[:, None, None]
    angle = (rng.random(count) * 1024).astype(int)
    cos, sin = _COS[angle][:, None], _COS[(angle - 256) % 1024][:, None]
    x = shape[..., 0] * cos - shape[..., 1] * sin + centre[:, :1]
    y = shape[..., 0] * sin + shape[..., 1] * cos + centre[:, 1:]
    points = np.rint(np.stack([x, y], axis=-1) * 4).astype(np.int32)
    return [
        np.ascontiguousarray(leaf[::4]) if size < _SMALL else leaf for leaf, size in zip(points, radius, strict=True)
    ]


def _templates(rng: np.random.Generator) -> NDArray[np.float64]:
    """(24, V, 2) outlines of unit radius, an image's own mixture of kinds."""
    turn = np.arange(_VERTICES) * (1024 // _VERTICES)
    circle = np.stack([_COS[turn], _COS[(turn - 256) % 1024]], axis=-1)
    kinds = [circle] * 4
    kinds += [circle * [1, 0.25 + 0.6 * rng.random()] for _ in range(4)]
    kinds += [_blade(circle, 0.15 + 0.3 * rng.random()) for _ in range(3)]
    kinds += [circle * _wobble(turn, rng) for _ in range(6)]
    kinds += [_polygon(circle, 3 + int(rng.random() * 4)) * [1, 0.4 + 0.6 * rng.random()] for _ in range(4)]
    kinds += [np.clip(circle * 1.42, -1, 1) * [1, 0.06 + 0.5 * rng.random()] for _ in range(3)]
    return np.stack(kinds)


def _blade(circle: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Pointed at both ends, ``width`` of its length across."""
    taper = 1 - circle[:, 0] * circle[:, 0]
    return np.stack([circle[:, 0], np.where(circle[:, 1] < 0, -width, width) * taper], axis=-1)


def _wobble(turn: NDArray[np.int_], rng: np.random.Generator) -> NDArray[np.float64]:
    """(V, 1) radii in (0, 1] of a lobed outline: two random harmonics."""
    radius = np.ones(len(turn))
    for strength in (0.3, 0.2):
        lobes, phase = 2 + int(rng.random() * 5), int(rng.random() * 1024)
        radius += strength * rng.random() * _COS[(turn * lobes + phase) % 1024]
    return (radius / radius.max())[:, None]


def _polygon(circle: NDArray[np.float64], corners: int) -> NDArray[np.float64]:
    """A regular polygon: every vertex of the circle is drawn to the corner before it."""
    corner = np.arange(len(circle)) * corners // len(circle) * len(circle) // corners
    return circle[corner]
