"""Vibrant dead leaves: images with the statistics of photographs, and their exact depth.

Leaves with radii of density r^-3 (Lee, Mumford, Huang 2001: occlusion makes the result scale-invariant, as natural
images are) fall in three slabs of depth. They differ in shape, carry textures and gradients (Madhusudana et al. 2021,
"vibrant leaves"), throw soft shadows on what lies behind, and slabs out of focus are blurred. Two thirds of the images
have a horizon with bright sky above it and a ground that comes nearer below, and each has a tone curve of its own.

Every step is an integer operation or an IEEE-exact float64 one, so the bytes do not depend on the machine. Drawn at
twice the size, then averaged 2x2 against jagged edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cea.config import Config
from cea.data.dead_leaves.shapes import outlines
from cea.data.dead_leaves.textures import SIDE, atlas, soften
from cea.levels import UNIT_OF_LEVEL, to_uint8
from cea.rng import generator, stream
from cea.types import ImageU8

VERSION = 3
"""Raised when the same seed gives other pixels."""


@dataclass(frozen=True)
class _Slab:
    """Leaves at about one distance: bounds of their inverse depth, total area over the image's, least size."""

    far: float
    near: float
    coverage: float
    enlarged: float


_SLABS = (_Slab(0.10, 0.40, 3.0, 1), _Slab(0.45, 0.65, 0.5, 2.5), _Slab(0.75, 1.00, 0.2, 5))
"""From far to near. Near ones look larger: the least radius grows by ``enlarged``."""

_HUES = ((0.03, 0.13, 0.50), (0.16, 0.29, 0.74), (0.54, 0.64, 0.92), (0.0, 1.0, 1.0))
"""Ranges of hue (0 = red, 1/3 = green) with cumulative weight: earth and skin, foliage, sky and water, anything."""


class LeavesConfig(Config):
    """How many dead-leaves images are generated, and what they look like."""

    count: int = Field(default=72, ge=0, le=100_000)
    """Images; 0 for none."""

    val_count: int = Field(default=2, ge=0)
    """How many of them go to the validation split; the others are for training, none for testing."""

    size: int = Field(default=384, ge=32, le=4096)
    """Height and width in pixels."""

    radius_min: float = Field(default=4.0, ge=1)
    """Least radius of a leaf in pixels."""

    radius_max: float = Field(default=160.0, ge=2)
    """Greatest radius of a leaf in pixels."""

    aperture: int = Field(default=5, ge=0, le=50)
    """Greatest blur radius of a slab out of focus, in pixels; 0 for none."""

    seed: int = Field(default=0, ge=0)
    """Which images: another seed gives others."""


@dataclass(frozen=True)
class Generated:
    """A dead-leaves image.

    Attributes:
        rgb: (H, W, 3) uint8.
        inverse_depth: (H, W) uint16, near = 65535; that of the leaf seen at the pixel's centre.
    """

    rgb: ImageU8
    inverse_depth: NDArray[np.uint16]


@dataclass(frozen=True)
class _Leaves:
    """The leaves of one slab, back to front; index 0 stands for 'no leaf'. Fixed-point int32 throughout.

    Attributes:
        outline: per leaf (V, 2) vertices (x, y) in quarter pixels of the double-size canvas.
        base: (N, 3) colour, 0..255.
        tint: (N, 3) what a texture value of 128 adds to the colour.
        shading: (N, 3) a, b, c of the brightness factor (a x + b y + c) / 4096.
        texture: (N, 5) a, b, ou, ov, k: texture k is read at (a x + b y + ou, a y - b x + ov) / 256.
        inverse_depth: (N,) 0..65535.
    """

    outline: list[NDArray[np.int32]]
    base: NDArray[np.int32]
    tint: NDArray[np.int32]
    shading: NDArray[np.int32]
    texture: NDArray[np.int32]
    inverse_depth: NDArray[np.uint16]


def generate(config: LeavesConfig, index: int) -> Generated:
    """The image number ``index``; a pure function of the two arguments, the same on every machine."""
    rng = generator(stream("dead leaves", VERSION, config.seed, index))
    palette = _palette(rng)
    focus, aperture = rng.random(), config.aperture * rng.random() * rng.random()
    horizon = max(0.0, 0.9 * rng.random() - 0.3)
    rgb, depth = _background(rng, palette, config.size, horizon)
    for slab in _SLABS:
        leaves = _drop(rng, palette, slab, config, horizon)
        labels = _paint(leaves, 2 * config.size)
        blur = int(2 * aperture * abs((slab.near + slab.far) / 2 - focus))
        rgb = _compose(rgb, _shade(labels, leaves), labels, blur)
        seen = labels[1::2, 1::2]
        depth = np.where(seen > 0, leaves.inverse_depth[seen], depth)
    return Generated(_exposure(rng)[rgb], depth)


def _exposure(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A tone curve of 256 entries, as a camera and the hour of the day would give.

    Without it dead leaves average out: the means of whole images spread by .05 (full scale 1), those of photographs by
    .11, and a network trained on them takes the same mean brightness for granted. The curve is
    low + (high - low) g x / (1 + (g - 1) x), rational so that it is exact on every machine.
    """
    key = 0.62 * (rng.random() + rng.random() - 1)
    gain = (1 + key) / (1 - key)
    low, high = 0.16 * rng.random() ** 2, 1 - 0.3 * rng.random() ** 2
    x = UNIT_OF_LEVEL
    return np.rint(255 * (low + (high - low) * gain * x / (1 + (gain - 1) * x))).astype(np.uint8)


def _palette(rng: np.random.Generator) -> NDArray[np.float64]:
    """(12, 3) colours in [0, 1] that an image's leaves share: few hues, mostly muted, all brightnesses."""
    count = 12
    kind, position = rng.random(count), rng.random(count)
    hue = np.zeros(count)
    for low, high, weight in reversed(_HUES):
        hue = np.where(kind < weight, low + (high - low) * position, hue)
    saturation = 0.08 + 0.9 * np.maximum(rng.random(count) * rng.random(count), 0.1)
    brightness = 0.06 + 0.94 * (np.arange(count) + rng.random(count)) / count
    wheel = np.clip(np.abs((hue[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return brightness[:, None] * (1 - saturation[:, None] * (1 - wheel))


def _background(
    rng: np.random.Generator, palette: NDArray[np.float64], size: int, horizon: float
) -> tuple[ImageU8, NDArray[np.uint16]]:
    """What shows between the far leaves: a ramp between two colours, and a ground that comes nearer.

    Above a horizon there is sky: bright, hardly saturated, blue or white.
    """
    top, bottom = palette[4 + int(rng.random() * 8)], palette[int(rng.random() * 12)]
    if horizon > 0:
        sky = 0.55 + 0.45 * rng.random(2)
        blue = 1 - 0.35 * rng.random() * np.array([1, 0.5, 0])
        top, bottom = sky[0] * blue, sky[1] * (0.5 + 0.5 * blue)
    ramp = (np.arange(size) / size)[:, None, None]
    cloud = cv2.resize(atlas()[0].astype(np.float64), (size, size), interpolation=cv2.INTER_LINEAR)[..., None] * (
        0.12 / 128
    )
    rgb = np.clip((top * (1 - ramp) + bottom * ramp) * (1 + cloud), 0, 1)
    depth = np.rint(65535 * (0.02 + 0.06 * ramp[:, :, 0])).astype(np.uint16)
    return to_uint8(rgb), np.repeat(depth, size, axis=1)


def _drop(
    rng: np.random.Generator, palette: NDArray[np.float64], slab: _Slab, config: LeavesConfig, horizon: float
) -> _Leaves:
    """Draw the leaves of one slab; with a horizon they lie below it, the lower the nearer, as on a ground."""
    radius = _radii(rng, slab, config)
    centre = rng.random((len(radius), 2)) * (config.size + radius[:, None]) - radius[:, None] / 2
    if horizon > 0:
        top = centre[:, 1] - 0.3 * radius
        kept = np.flatnonzero((top > horizon * config.size) | (rng.random(len(radius)) < 0.04))
        kept = kept[np.argsort(top[kept] + 0.25 * config.size * rng.random(len(kept)), kind="stable")]
        radius, centre = radius[kept], centre[kept]
    count = len(radius)
    base = palette[(rng.random(count) * len(palette)).astype(int)]
    base = base * (0.8 + 0.4 * rng.random((count, 1))) * (0.94 + 0.12 * rng.random((count, 3)))
    other = palette[(rng.random(count) * len(palette)).astype(int)]
    strength = np.where(rng.random(count) < 0.15, 0.04, 0.15 + 0.75 * rng.random(count))[:, None]
    tint = strength * np.where(rng.random((count, 1)) < 0.35, other - base, base)
    depth = slab.far + (slab.near - slab.far) * (np.arange(count) + 1) / count
    return _Leaves(
        outline=outlines(rng, 2 * centre, 2 * radius),
        base=_fixed(base, 255),
        tint=_fixed(tint, 255),
        shading=_shading(rng, 2 * centre, 2 * radius),
        texture=_mapping(rng, count),
        inverse_depth=np.concatenate([[0], np.rint(depth * 65535)]).astype(np.uint16),
    )


def _radii(rng: np.random.Generator, slab: _Slab, config: LeavesConfig) -> NDArray[np.float64]:
    """Radii in pixels with density r^-3, by inversion of the distribution; as many as cover the slab's share."""
    least = min(config.radius_min * slab.enlarged, config.radius_max / 2)
    small, large = 1 / least**2, 1 / config.radius_max**2
    mean_area = math.pi * math.log(small / large) / (small - large)
    count = int(slab.coverage * config.size**2 / mean_area) + 1
    return 1 / np.sqrt(large + rng.random(count) * (small - large))


def _shading(rng: np.random.Generator, centre: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.int32]:
    """Brightness ramps across leaves, of up to +-45 % from rim to rim."""
    slope = (rng.random((len(radius), 2)) * 2 - 1) * 0.45 / np.maximum(radius, 6)[:, None]
    offset = 1 - (slope * centre).sum(axis=1, keepdims=True)
    return _fixed(np.concatenate([slope, offset], axis=1), 4096 * 16)


def _mapping(rng: np.random.Generator, count: int) -> NDArray[np.int32]:
    """Rotation and scale by which each leaf reads its texture."""
    direction = rng.random((count, 2)) * 2 - 1
    scale = (0.5 + 2.0 * rng.random(count)) / np.maximum(np.sqrt((direction * direction).sum(axis=1)), 0.1)
    turn = direction * scale[:, None] * 256
    position = rng.random((count, 2)) * SIDE * 256
    kind = np.floor(rng.random((count, 1)) * len(atlas()))
    return _fixed(np.concatenate([turn, position, kind], axis=1), 1)


def _fixed(values: NDArray[np.float64], scale: float) -> NDArray[np.int32]:
    """``values`` times ``scale`` as int32, with a row of zeros in front for 'no leaf'."""
    return np.rint(np.concatenate([np.zeros((1, values.shape[1])), values]) * scale).astype(np.int32)


def _paint(leaves: _Leaves, side: int) -> NDArray[np.int32]:
    """(side, side) int32: which leaf is seen at each pixel, 0 for none."""
    labels = np.zeros((side, side), np.int32)
    for label, outline in enumerate(leaves.outline, start=1):
        cv2.fillPoly(labels, [outline], label, shift=2)
    return labels


def _shade(labels: NDArray[np.int32], leaves: _Leaves) -> ImageU8:
    """The colours of the leaves where there are any, black elsewhere; (side, side, 3) uint8."""
    where = np.flatnonzero(labels).astype(np.int32)
    leaf = labels.ravel()[where]
    y, x = np.divmod(where, np.int32(labels.shape[1]))
    a, b, u0, v0, kind = (column[leaf] for column in np.ascontiguousarray(leaves.texture.T))
    u, v = ((a * x + b * y + u0) >> 8) & (SIDE - 1), ((a * y - b * x + v0) >> 8) & (SIDE - 1)
    grain = atlas().ravel()[(kind * SIDE + v) * SIDE + u]
    a, b, c = (column[leaf] for column in np.ascontiguousarray(leaves.shading.T))
    light = np.clip((a * x + b * y + c) >> 4, 1600, 6600)
    image = np.zeros((labels.size, 3), np.uint8)
    for channel in range(3):
        colour = leaves.base[:, channel][leaf] + ((leaves.tint[:, channel][leaf] * grain) >> 7)
        image[where, channel] = np.clip((colour * light) >> 12, 0, 255)
    return image.reshape(*labels.shape, 3)


def _compose(behind: ImageU8, leaves: ImageU8, labels: NDArray[np.int32], blur: int) -> ImageU8:
    """Lay a slab over what is behind it: halved in size, out of focus, with a soft shadow."""
    cover = soften(_halved((labels > 0).view(np.uint8) * np.uint8(255)), blur)
    colour = soften(_halved(leaves), blur)
    below = np.pad(cover, ((5, 0), (4, 0)), mode="edge")[:-5, :-4]
    shadow = soften(below, 6).astype(np.int32)
    lit = behind.astype(np.int32) * (640 - shadow)[..., None] // 640
    mixed = lit * (255 - cover.astype(np.int32))[..., None] // 255 + colour
    return np.minimum(mixed, 255).astype(np.uint8)


def _halved(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means over 2x2 pixels."""
    size = (image.shape[1] // 2, image.shape[0] // 2)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
