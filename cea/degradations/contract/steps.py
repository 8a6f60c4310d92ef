"""What families do to each pixel, said so that the engine can do several of it in one pass over the image.

A step is the numbers and maps of one formula. ``Degradation.apply`` does the same in NumPy and is what counts: the
pass has to give its bits (tests/golden/test_compiled_loops.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from cea.types import Map


@dataclass(frozen=True)
class Table:
    """A function of a map, tabulated: its value at x is ``entries[round(x * scale)]``, x clipped to the table.

    Attributes:
        entries: (N,) float32.
        scale: entries per unit of x.
    """

    entries: Map
    scale: float

    def fields(self) -> Mapping[str, Any]:
        """As the pass takes it."""
        return {"table": self.entries, "last": len(self.entries) - 1, "scale": self.scale}


@dataclass(frozen=True)
class Relight:
    """J g(L), L the guided filter of luma by a light map. Severity: the share of light that is lost.

    Attributes:
        light: (H, W) float32.
        gain: g.
        exposure: a factor for each channel.
        loss: the largest of 1 - ``exposure``.
    """

    light: Map
    gain: Table
    exposure: tuple[float, ...]
    loss: float

    def fields(self) -> Mapping[str, Any]:
        """As the pass takes it."""
        return {"kind": 0, "map": self.light, "amount": self.loss, "rgb": self.exposure, **self.gain.fields()}


@dataclass(frozen=True)
class Add:
    """J + R.

    Attributes:
        layer: R, (H, W) float32, or of half the height if ``halved``.
        severity: where strength is 1.
        halved: whether rows are doubled, with linear interpolation.
    """

    layer: Map
    severity: float
    halved: bool

    def fields(self) -> Mapping[str, Any]:
        """As the pass takes it."""
        return {"kind": 1, "map": self.layer, "amount": self.severity, "halved": self.halved}


@dataclass(frozen=True)
class Veil:
    """A + (J - A) t(d), d the distance 1 - near, at most ``cap``, times ``factor``. Severity: 1 - t.

    Attributes:
        near: (H, W) float32 in [0, 1].
        factor: (H, W) float32, or None for 1.
        cap: in units of ``near``.
        transmission: t.
        airlight: A for each channel.
    """

    near: Map
    factor: Map | None
    cap: float
    transmission: Table
    airlight: tuple[float, ...]

    def fields(self) -> Mapping[str, Any]:
        """As the pass takes it."""
        maps = {"map": self.near, "factor": self.factor}
        return {"kind": 2, "amount": self.cap, "rgb": self.airlight, **maps, **self.transmission.fields()}


@dataclass(frozen=True)
class Noise:
    """J + sigma n. Severity: sigma times ``scale``, at most 1; none where that is None.

    Attributes:
        sigma: in units of the image.
        clip: whether to clip to [0, 1].
        scale: severity per sigma.
    """

    sigma: float
    clip: bool
    scale: float | None = None

    def fields(self) -> Mapping[str, Any]:
        """As the pass takes it."""
        return {"kind": 3, "amount": self.sigma, "clip": self.clip, "scale": self.scale or 0.0}


PixelStep: TypeAlias = Relight | Add | Veil | Noise
