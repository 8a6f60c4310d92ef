"""Steps of several families in one compiled pass over the image, from its 8 bits to the degraded ones."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cea.degradations.contract.base import Context, Degradation, Params, Scene
from cea.degradations.contract.steps import PixelStep, Relight
from cea.degradations.exact import compiled
from cea.degradations.exact.maps import strips
from cea.degradations.exact.normal import normal_table
from cea.degradations.exact.planes import quantise, to_planes
from cea.errors import ConfigError
from cea.levels import LEVEL_F32
from cea.rng import generator
from cea.types import ImageF, ImageU8, Map


@dataclass
class Canvas:
    """An image, and the steps that it still has to go through; they are done when somebody looks.

    Attributes:
        pixels: (H, W, 3) uint8, where nothing has happened yet.
    """

    pixels: ImageU8
    _planes: ImageF | None = None
    _steps: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Have the pixels in one piece, as the pass reads them."""
        self.pixels = np.ascontiguousarray(self.pixels)

    def takes(
        self, family: Degradation[Any, Any], params: Params, context: Context, severity: Map, again: bool
    ) -> bool:
        """Note what ``family`` does, if it can be done in the pass.

        Args:
            family: which family.
            params: its drawn numbers.
            context: what else it may look at.
            severity: (H, W) float32, where the pass puts the family's severity.
            again: whether another part of the family has left its own there, which stays where it is larger.
        """
        if compiled.LIBRARY is None:
            return False
        steps = family.pixel_steps(self.pixels.shape[:2], params, context)
        if not steps:
            return False
        noted = [_noted(step, context) for step in steps]
        if not all(self._fits(step) for step in noted) or not _agrees(family, params, context, steps):
            return False
        if isinstance(steps[0], Relight) and self._steps:
            self._planes = self.planes()  # it looks at its neighbours
        self._steps += noted
        self._steps[-len(noted)] |= {"severity": severity, "again": again}
        return True

    def _fits(self, step: dict[str, Any]) -> bool:
        """Whether the maps of a step have the type and size that the pass reads."""
        height, width = self.pixels.shape[:2]
        sizes = dict.fromkeys(_MAPS, (height, width))
        if step.get("halved"):
            sizes["map"] = -(-height // 2), width
        maps = {name: step[name] for name in _MAPS if step.get(name) is not None}
        return compiled.takes(*maps.values()) and all(maps[name].shape == sizes[name] for name in maps)

    def planes(self) -> ImageF:
        """The image as it is after all steps, (H, W, 3) float32, planar in memory."""
        if self._steps:
            out = compiled.planar(self.pixels.shape)
            self._run(out=out)
            self._planes = out
        elif self._planes is None:
            self._planes = to_planes(self.pixels)
        return self._planes

    def replace(self, planes: ImageF) -> None:
        """Go on with another image, (H, W, 3) float.

        Raises:
            ConfigError: it has another shape.
        """
        if planes.shape != self.pixels.shape:
            raise ConfigError(
                f"a degradation's apply returned an image of shape {planes.shape}",
                expected=f"the shape that it was given, {self.pixels.shape}",
                remedy="return the whole image",
            )
        self._planes = np.ascontiguousarray(planes.transpose(2, 0, 1), np.float32).transpose(1, 2, 0)

    def quantised(self) -> ImageU8:
        """The image after all steps, (H, W, 3) uint8; the last thing to ask for."""
        if not self._steps:
            return quantise(self.planes())
        levels = np.empty(self.pixels.shape, np.uint8)
        self._run(levels=levels)
        return levels

    def _run(self, **to: Any) -> None:
        height, width = self.pixels.shape[:2]
        given = {"pixels": self.pixels} if self._planes is None else {"planes": self._planes}
        compiled.run_pass(
            self._steps,
            **given,
            **to,
            normal=normal_table(),
            height=height,
            width=width,
            strip=next(strips((height, width))).stop,
            level=LEVEL_F32,
        )
        self._steps = []


_MAPS = ("map", "factor", "strength")


def _noted(step: PixelStep, context: Context) -> dict[str, Any]:
    return {**step.fields(), "strength": context.strength, "stream": context.stream}


_SIDE = 24
_KNOWN: dict[tuple[Any, ...], bool] = {}


def _agrees(family: Degradation[Any, Any], params: Params, context: Context, steps: Sequence[PixelStep]) -> bool:
    """Whether the pass gives the bits of ``apply``, which is what counts: somebody may have changed one of the two.

    Looked at once in a process for each family, kind of steps, choice of numbers that are not zero, and with or without
    strength.
    """
    used = frozenset(name for name, value in params if value)
    kinds = tuple((type(step), getattr(step, "halved", False)) for step in steps)
    key = (type(family), used, kinds, context.strength is not None)
    if key not in _KNOWN:
        agrees = _does_agree(family, params, context)
        _KNOWN[key] = bool(agrees)
        if agrees is False:
            warnings.warn(
                f"{family.name}: its pixel_steps do not give what its apply gives; apply is used, which takes longer",
                RuntimeWarning,
                stacklevel=3,
            )
    return _KNOWN[key]


def _does_agree(family: Degradation[Any, Any], params: Params, context: Context) -> bool | None:
    """None: it has no steps on a small picture, so nothing is known."""
    rng, shape = generator(0), (_SIDE, _SIDE)
    pixels = rng.integers(0, 256, (*shape, 3), np.uint8)
    near, light, strength = (rng.random(shape, np.float32) for _ in range(3))
    small = Context(Scene(near, 1 - light), context.stream, None if context.strength is None else strength)
    steps = [_noted(step, small) for step in family.pixel_steps(shape, params, small) or ()]
    if not steps:
        return None
    severity = np.empty(shape, np.float32)
    steps[0] |= {"severity": severity, "again": False}
    canvas = Canvas(pixels, None, steps)
    applied = family.apply(to_planes(pixels), params, small)
    return np.array_equal(canvas.planes(), applied.image) and np.array_equal(severity, applied.severity)
