"""Any pixel-level transform of albumentations as a degradation family.

Its draws come from the node's own stream and from nothing else: the transform gets ``set_random_seed`` for each image.
``Compose(seed=...)`` is never used, because it hands the same seed to all of its children, and two noises in one
composition then add the same noise twice.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from cea.config import Config
from cea.degradations.contract import strength
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Share, Unit, uniform
from cea.errors import ConfigError, RecordError
from cea.levels import from_codes, to_uint8
from cea.types import ImageF, ImageU8


class AlbumentationsRanges(Config):
    """Which transform, with which arguments."""

    transform: str = "RingingOvershoot"
    """Name of a class of albumentations."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Its arguments, without ``p``: how often a node takes part is the recipe's ``probability``."""
    amount: Share = (1.0, 1.0)
    """How far to blend from the clean image (0) to the transformed one (1)."""

    @model_validator(mode="after")
    def _builds(self) -> AlbumentationsRanges:
        build(self.transform, self.arguments)
        return self


class AlbumentationsParams(Params):
    """One use of the transform; what it draws itself follows from the node's stream."""

    transform: str
    """Name of a class of albumentations."""
    arguments: dict[str, Any]
    """Its arguments."""
    amount: Unit
    """Blend between the clean image (0) and the transformed one (1)."""


class Albumentations(Degradation[AlbumentationsRanges, AlbumentationsParams]):
    """A transform of albumentations on 8-bit pixels; amount and strength map blend it in."""

    name: ClassVar[str] = "albumentations"
    stage: ClassVar[Stage] = "sensor"

    def sample(self, rng: np.random.Generator) -> AlbumentationsParams:
        """Draw the amount."""
        return self._with(uniform(rng, self.ranges.amount))

    def at(self, severity: float) -> AlbumentationsParams:
        """Amount = severity."""
        return self._with(severity)

    def apply(self, image: ImageF, params: AlbumentationsParams, context: Context) -> Applied:
        """Transform and blend; severity is the amount.

        Raises:
            RecordError: no such transform, or it does not take its arguments.
            ConfigError: the transform does not return 8-bit pixels of the same size.
        """
        severity = strength.severity_map(image, params.amount, context.strength)
        if params.amount == 0.0:
            return Applied(image, severity)
        transformed = _transformed(np.ascontiguousarray(to_uint8(image)), params, context.stream)
        return Applied(strength.blend(image, from_codes(transformed), severity), severity)

    def _with(self, amount: float) -> AlbumentationsParams:
        return AlbumentationsParams(transform=self.ranges.transform, arguments=self.ranges.arguments, amount=amount)


def library() -> ModuleType:
    """albumentations, imported late (it takes two seconds) and told not to ask the network for updates."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations


def build(transform: str, arguments: dict[str, Any]) -> Any:
    """The transform, every argument checked.

    Raises:
        ValueError: no such transform, one that moves pixels, or an argument that it does not take.
    """
    albumentations = library()
    kind = getattr(albumentations, transform, None)
    if not (isinstance(kind, type) and issubclass(kind, albumentations.ImageOnlyTransform)):
        raise ValueError(f"A pixel-level transform of albumentations (one that moves no pixels), not {transform!r}")
    if "p" in arguments:
        raise ValueError("Arguments without p; the recipe's probability says how often a node takes part")
    try:
        return kind(**arguments, strict=True)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Arguments that {transform} takes ({' '.join(str(error).split())})") from None


def _transformed(image: ImageU8, params: AlbumentationsParams, stream: int) -> ImageU8:
    try:
        transform = build(params.transform, params.arguments)
    except ValueError as error:
        raise RecordError(
            str(error), expected="a transform of the installed albumentations", remedy="draw the records again"
        ) from None
    transform.set_random_seed(stream)
    result = transform(image=image, force_apply=True)["image"]
    if result.shape != image.shape or result.dtype != np.uint8:
        raise ConfigError(
            f"albumentations {params.transform} returned {result.dtype} {result.shape}",
            expected=f"uint8 {image.shape}",
            remedy="choose a transform that keeps size and type",
        )
    return result
