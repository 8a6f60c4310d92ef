"""Raindrops on the window before the lens: y = (1 - M) x + R, M the drops' mask and R the light they refract.

The composition is that of Qian et al., "Attentive generative adversarial network for raindrop removal" (CVPR 2018); the
optics are those of Roser & Geiger, "Video-based raindrop detection" (ICCV Workshops 2009): a drop is a cap of water
(n = 1.33) on glass, so by Snell's law it shows a small, upside-down, wide-angle picture of the scene, dark towards the
rim where total reflection begins. The camera is focused on the scene, the glass is near: drops are out of focus.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cea.config import Config
from cea.degradations.contract import strength
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Share, Unit, Within, uniform
from cea.degradations.exact import convolution, psf, transfer
from cea.degradations.exact.channels import per_channel
from cea.rng import generator
from cea.types import ImageF, Map

WATER = 1.33
"""Refractive index."""

STEEPNESS = 0.52
"""Height of a drop over its radius: slopes up to 1.04, just below total reflection at 1.14."""

FIELD_OF_VIEW = 0.9
"""Focal length over the image's longer side; how much of the scene fits into a drop."""

FULL = 0.35
"""Share of the glass that is wet at severity 1."""

SMALLEST = 0.25
"""Radius of the smallest drop over that of the largest; radii r have the density r^-3 in between."""

MOST_DROPS = 4000


class RaindropRanges(Config):
    """What to draw raindrops from."""

    coverage: Annotated[tuple[float, float], Within(0, 0.6)] = (0.03, 0.25)
    """Share of the glass that is wet, counting overlaps twice."""
    radius: Annotated[tuple[float, float], Within(0.002, 0.3)] = (0.02, 0.06)
    """Radius of the largest drops over the image's shorter side."""
    defocus: Share = (0.1, 0.4)
    """Radius of the blur over the radius of the largest drops."""


class RaindropParams(Params):
    """How wet the glass is; where the drops are follows from the node's stream."""

    coverage: Unit
    """Share of the glass that is wet."""
    radius: float = Field(gt=0, le=0.5)
    """Radius of the largest drops over the shorter side."""
    defocus: Unit
    """Radius of the blur over that of the largest drops."""


class Raindrop(Degradation[RaindropRanges, RaindropParams]):
    """Refracting drops that merge where they touch; a strength map shrinks them."""

    local: ClassVar[bool] = True
    name: ClassVar[str] = "raindrop"
    stage: ClassVar[Stage] = "optics"

    def sample(self, rng: np.random.Generator) -> RaindropParams:
        """Draw coverage, size and defocus."""
        return RaindropParams(
            coverage=uniform(rng, self.ranges.coverage),
            radius=uniform(rng, self.ranges.radius),
            defocus=uniform(rng, self.ranges.defocus),
        )

    def at(self, severity: float) -> RaindropParams:
        """Up to ``FULL`` of the glass wet; drops are added, those that are there stay."""
        return RaindropParams(coverage=severity * FULL, radius=0.05, defocus=0.15)

    def apply(self, image: ImageF, params: RaindropParams, context: Context) -> Applied:
        """Lay the drops over the scene; severity and label ``mask`` are the drops' opacity M.

        Everything about drops happens at half size: they are out of focus.
        """
        height, width = image.shape[:2]
        light = transfer.linear_codes(image)
        wet, scale = glass((-(-height // 2), -(-width // 2)), params, context.stream)
        if context.strength is not None:
            wet *= transfer.halved(transfer.codes(context.strength)) * np.float32(1 / transfer.TOP)
        mask, refracted = _out_of_focus(*_drops(light, wet, scale), params.defocus * params.radius * min(wet.shape))
        full_mask = transfer.doubled(mask)[:height, :width] * np.float32(1 / transfer.TOP)
        seen = (
            light * (np.float32(1) - full_mask)[..., None] + per_channel(transfer.doubled, refracted)[:height, :width]
        )
        wetted = transfer.encoded_codes(np.minimum(seen + np.float32(0.5), np.float32(transfer.TOP)).astype(np.uint16))
        result = np.where((full_mask == 0)[..., None], image, wetted)
        return Applied(result, strength.severity_map(image, 1.0, full_mask), {"mask": full_mask})


def glass(shape: tuple[int, int], params: RaindropParams, stream: int) -> tuple[Map, Map]:
    """Metaballs: a drop covers where their sum exceeds 1/4.

    Returns:
        The sum of (1 - d^2)^2 over all drops, d the distance in units of sqrt(2) radii, and the radius of the largest
        drop at each pixel in px; both (H, W) float32.
    """
    rng = generator(stream)
    wet, scale = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    outline = _roughness(shape, rng)
    for x, y, radius, tall in _layout(shape, params, rng):
        reach = 1.4142135623730951 * radius
        rows, columns = _window(y, reach * tall, shape[0]), _window(x, reach, shape[1])
        dy = (np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(y)) * np.float32(1 / (reach * tall))
        dx = (np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(x)) * np.float32(1 / reach)
        inside = np.maximum(np.float32(1) - ((dy * dy)[:, None] + dx * dx), np.float32(0))
        wet[rows, columns] += inside * inside
        np.maximum(scale[rows, columns], (inside > 0) * np.float32(radius), out=scale[rows, columns])
    return wet * outline, scale


def _layout(shape: tuple[int, int], params: RaindropParams, rng: np.random.Generator) -> NDArray[np.float64]:
    """(N, 4): x, y, radius in px, height over width; more ``coverage`` appends drops."""
    largest = params.radius * min(shape)
    u = rng.random((MOST_DROPS, 4))
    inverse = 1 / SMALLEST**2 - u[:, 2] * (1 / SMALLEST**2 - 1)
    radius = np.maximum(largest / np.sqrt(inverse), 0.5)
    tall = 1 + 0.35 * u[:, 3]
    area = np.pi * radius * radius * tall
    # A drop belongs to it when more than half of it fits into the wanted coverage.
    count = int(np.searchsorted(np.cumsum(area) - area / 2, params.coverage * shape[0] * shape[1]))
    return np.stack([u[:, 0] * shape[1], u[:, 1] * shape[0], radius, tall], axis=1)[:count]


def _roughness(shape: tuple[int, int], rng: np.random.Generator) -> Map:
    """Smooth factors around 1 that make outlines irregular; (H, W) float32."""
    grid = rng.integers(70, 131, (24, 32)).astype(np.float32) * np.float32(0.01)
    return np.asarray(cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32).reshape(shape)


def _window(centre: float, reach: float, size: int) -> slice:
    low = min(max(int(centre - reach), 0), size)
    return slice(low, max(low, min(int(centre + reach) + 2, size)))


def _drops(light: transfer.Codes, wet: Map, scale: Map) -> tuple[transfer.Codes, transfer.Codes]:
    """Opacity (H, W) and refracted light times opacity (H, W, 3) of the drops in focus, as codes."""
    root = np.sqrt(wet)
    sharpness = np.maximum(scale, np.float32(1))  # the rim is about two pixels wide
    opacity = np.clip((root - np.float32(0.5)) * sharpness + np.float32(0.5), np.float32(0), np.float32(1))
    opacity[scale == 0] = 0
    rows, columns = np.nonzero(opacity)
    slopes = [s[rows, columns] * scale[rows, columns] * np.float32(2 * STEEPNESS) for s in _gradient(root)]
    shift, passed = _refract(slopes)
    scene = per_channel(lambda plane: transfer.halved(transfer.halved(plane)), light)
    reach = np.float32(FIELD_OF_VIEW * max(scene.shape[:2]))
    y = _mirrored(rows * np.float32(0.5) + shift[0] * reach, scene.shape[0])
    x = _mirrored(columns * np.float32(0.5) + shift[1] * reach, scene.shape[1])
    refracted = np.zeros((3, *wet.shape), np.uint16)
    weight = opacity[rows, columns] * passed
    for channel in range(3):
        refracted[channel][rows, columns] = (scene[..., channel][y, x] * weight).astype(np.uint16)
    return transfer.codes(opacity), refracted.transpose(1, 2, 0)


def _gradient(values: Map) -> tuple[Map, Map]:
    """Central differences along y and x, 0 at the borders; (H, W) float32 each."""
    dy, dx = np.zeros_like(values), np.zeros_like(values)
    dy[1:-1] = (values[2:] - values[:-2]) * np.float32(0.5)
    dx[:, 1:-1] = (values[:, 2:] - values[:, :-2]) * np.float32(0.5)
    return dy, dx


def _refract(slopes: Sequence[Map]) -> tuple[list[Map], Map]:
    """Snell's law at the water's surface for a ray along the axis.

    Args:
        slopes: dh/dy and dh/dx of the surface.

    Returns:
        The tangents of the ray's deviation along y and x (towards the drop's top: what is seen is upside down), and the
        share of the light that passes.
    """
    one = np.float32(1)
    steep = np.sqrt(slopes[0] * slopes[0] + slopes[1] * slopes[1])
    sine = np.minimum(np.float32(WATER) * steep / np.sqrt(one + steep * steep), np.float32(0.999))
    cosine = np.sqrt(one - sine * sine)
    tangent = sine / cosine
    deviation = (tangent - steep) / (one + tangent * steep)
    direction = deviation / np.maximum(steep, np.float32(1e-6))
    grazing = (one - cosine) * (one - cosine)
    return [slope * direction for slope in slopes], one - grazing * grazing


def _mirrored(position: Map, size: int) -> NDArray[np.intp]:
    """Integer coordinates in [0, size), mirrored once at the borders."""
    last = size - 1
    index = np.abs(np.floor(position).astype(np.intp))
    return np.clip(np.where(index > last, 2 * last - index, index), 0, last)


def _out_of_focus(
    mask: transfer.Codes, refracted: transfer.Codes, radius: float
) -> tuple[transfer.Codes, transfer.Codes]:
    kernel = psf.disc(max(radius, 0.5))
    both = np.concatenate([mask[..., None], refracted], axis=2)
    blurred = convolution.convolve_codes(both, kernel)
    return np.ascontiguousarray(blurred[..., 0]), blurred[..., 1:]
