"""A degradation family from a pair of functions, for generators that need no class.

::

    def sample(rng):                        # the numbers of one sample: anything that JSON can hold
        return {"period": int(rng.integers(2, 6)), "depth": float(rng.uniform(0.2, 0.8))}

    def apply(image, values, rng):          # (H, W, 3) float32 in [0, 1] -> the same; rng is the sample's own
        degraded = image.copy()
        degraded[:: values["period"]] *= 1 - values["depth"]
        return degraded

    Scanlines = family("Scanlines", sample, apply)

The name is that of the variable, so that ``module:Scanlines`` finds it and it survives pickling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from pydantic import JsonValue

from cea.config import Config
from cea.degradations.contract import strength
from cea.degradations.contract.base import Applied, Context, Degradation, Params, Stage
from cea.degradations.contract.ranges import Share, Unit, uniform
from cea.errors import ConfigError
from cea.rng import generator
from cea.types import ImageF

Sample: TypeAlias = Callable[[np.random.Generator], Mapping[str, Any]]
Apply: TypeAlias = Callable[[ImageF, dict[str, Any], np.random.Generator], ImageF]


class FunctionRanges(Config):
    """What can be said about any function."""

    amount: Share = (1.0, 1.0)
    """How far to blend from the clean image (0) to the degraded one (1)."""


class FunctionParams(Params):
    """What ``sample`` drew."""

    values: dict[str, JsonValue]
    """The numbers, as ``sample`` returned them."""
    amount: Unit
    """Blend between the clean image (0) and the degraded one (1)."""


@dataclass(frozen=True)
class FunctionPair:
    """The two functions."""

    sample: Sample
    apply: Apply


class FunctionFamily(Degradation[FunctionRanges, FunctionParams]):
    """Base of the classes that ``family`` makes; strength blends, and severity is 0 where nothing changed."""

    pair: ClassVar[FunctionPair]

    def sample(self, rng: np.random.Generator) -> FunctionParams:
        """Draw the amount, then call ``sample``."""
        amount = uniform(rng, self.ranges.amount)
        return FunctionParams(values=dict(self.pair.sample(rng)), amount=amount)

    def at(self, severity: float) -> FunctionParams:
        """One fixed draw, blended in by ``severity``."""
        return FunctionParams(values=dict(self.pair.sample(generator(0))), amount=severity)

    def apply(self, image: ImageF, params: FunctionParams, context: Context) -> Applied:
        """Call ``apply`` on a copy and blend.

        Raises:
            ConfigError: it returned another shape, or NaN.
        """
        degraded = np.asarray(self.pair.apply(image.copy(), dict(params.values), generator(context.stream)), np.float32)
        if degraded.shape != image.shape or not np.isfinite(degraded).all():
            raise ConfigError(
                f"apply of {self.name!r} returned shape {degraded.shape}",
                expected=f"finite values of shape {image.shape}",
                remedy="return an image of the size it was given",
            )
        weight = strength.severity_map(image, params.amount, context.strength)
        return Applied(strength.blend(image, degraded, weight), weight * strength.touched(image, degraded))


def family(
    name: str, sample: Sample, apply: Apply, *, stage: Stage = "sensor", local: bool = False
) -> type[FunctionFamily]:
    """A family class from ``sample(rng) -> numbers`` and ``apply(image, numbers, rng) -> image``.

    Args:
        name: the variable it is assigned to in the module of ``sample``.
        sample: draws numbers that JSON can hold.
        apply: a pure function of its three arguments; it may write into ``image``.
        stage: where in the formation of a photograph it acts.
        local: whether it leaves parts of the picture untouched.
    """
    body = {"name": name, "stage": stage, "local": local, "pair": FunctionPair(sample, apply)}
    return type(name, (FunctionFamily,), {**body, "__doc__": apply.__doc__, "__module__": sample.__module__})
