"""What every degradation family is: numbers are drawn first, then applied.

A family draws its numbers into a small frozen ``Params`` that survives JSON; ``apply`` is a pure function of
the image, those numbers, the node's stream and the scene. Nothing else may influence a pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Generic, Literal, TypeVar, get_args, get_origin

import numpy as np
from pydantic import ConfigDict

from cea.config import Config
from cea.degradations.contract.steps import PixelStep
from cea.types import ImageF, Map

Stage = Literal["scene", "weather", "optics", "sensor", "codec"]
"""Where in the formation of a photograph a family acts; the ``physical`` order sorts by it."""

STAGES: tuple[Stage, ...] = get_args(Stage)
"""In the order of formation."""


class Params(Config):
    """The numbers drawn for one sample of one family; each field documented with its unit.

    Records come from outside: a number that is not finite is refused, and so should be one that no range can draw or
    that costs time or memory without bounds (``Annotated[float, Within(least, most)]``).
    """

    model_config = ConfigDict(allow_inf_nan=False)


class Scene:
    """What the world gives beside the image: maps of the image's size, made on first use.

    Args:
        inverse_depth: (H, W) float32 in [0, 1], near = 1; or a function that makes it.
        light: (H, W) float32 in (0, 1], the illumination map of the clean image; or a function that makes it.
    """

    def __init__(self, inverse_depth: Map | Callable[[], Map], light: Map | Callable[[], Map]) -> None:
        self._inverse_depth = inverse_depth
        self._light = light

    @cached_property
    def inverse_depth(self) -> Map:
        """(H, W) float32 in [0, 1], near = 1."""
        return self._inverse_depth() if callable(self._inverse_depth) else self._inverse_depth

    @cached_property
    def light(self) -> Map:
        """(H, W) float32 in (0, 1]."""
        return self._light() if callable(self._light) else self._light

    def used(self) -> dict[str, Map]:
        """The maps that a family has read, by name."""
        return {name: values for name, values in vars(self).items() if not name.startswith("_")}


@dataclass(frozen=True)
class Context:
    """What ``apply`` may look at beside the image and its own parameters.

    Attributes:
        scene: depth and light of the clean image.
        stream: 64-bit seed of this node's own stream (noise, flakes, drops come from it alone).
        strength: (H, W) float32 in [0, 1] that scales the family's strength per pixel, or None for 1 everywhere.
    """

    scene: Scene
    stream: int
    strength: Map | None = None


@dataclass(frozen=True)
class Applied:
    """The result of one family.

    Attributes:
        image: (H, W, 3) float32, nominally [0, 1]; only the last step of a chain clips and quantises.
        severity: (H, W) float32 in [0, 1], the local strength of this component; 0 = untouched.
        labels: further maps by name (``transmission``, ``airlight``, ``sigma``, ``mask``), (H, W) or (H, W, 3) float32.
    """

    image: ImageF
    severity: Map
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)


R = TypeVar("R", bound=Config)
P = TypeVar("P", bound=Params)


class Degradation(ABC, Generic[R, P]):
    """One family of degradations. Subclasses are final: one file, one family.

    Args:
        ranges: from which ranges to draw, as written in params.yaml.
    """

    name: ClassVar[str]
    stage: ClassVar[Stage]
    Ranges: ClassVar[type[Config]]
    Params: ClassVar[type[Params]]
    local: ClassVar[bool] = False
    """Whether parts of the picture stay untouched even at full strength: drops, blobs. A sample with such a family
    never counts as uniform."""

    def __init_subclass__(cls) -> None:
        """Take ``Ranges`` and ``Params`` from ``Degradation[Ranges, Params]``."""
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is Degradation and all(isinstance(one, type) for one in get_args(base)):
                cls.Ranges, cls.Params = get_args(base)

    def __init__(self, ranges: R) -> None:
        self.ranges = ranges

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> P:
        """Draw this family's numbers from its ranges."""

    @abstractmethod
    def at(self, severity: float) -> P:
        """The parameters at a given ``severity`` in [0, 1]: 0 is the identity, damage grows with it."""

    @abstractmethod
    def apply(self, image: ImageF, params: P, context: Context) -> Applied:
        """Degrade ``image`` ((H, W, 3) float32 in [0, 1], never mutated) with ``params``."""

    def pixel_steps(self, shape: tuple[int, int], params: P, context: Context) -> Sequence[PixelStep] | None:
        """What ``apply`` does to an image of (H, W) ``shape``, as steps of one pass; None: nothing like it.

        They give the image and the severity of ``apply`` to the last bit, with ``context.strength`` and
        ``context.stream`` in each, and no labels.
        """
        del shape, params, context
        return None

    def parts(self, params: P) -> tuple[tuple[Stage, P], ...]:
        """How the ``physical`` order takes this family apart, e.g. low light = darkening (scene) + noise (sensor).

        The parts share label and stream; applied in turn they give what ``apply(params)`` gives.
        """
        return ((self.stage, params),)
