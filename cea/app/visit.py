"""One visitor's photograph and all that was made of it. It lies in memory alone and goes with the visit."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cea
from cea.app.drawing import Find, Wish, drawn
from cea.app.limits import Limits
from cea.degradations.engine.shipped import find
from cea.degradations.exact.planes import as_rgb8
from cea.degradations.tools.files import Degraded, as_degraded
from cea.degradations.tools.replay import FORMAT, Replay, rendered_again
from cea.errors import ConfigError
from cea.inference import Estimates
from cea.io.images import pixel_sha256, reduced
from cea.io.photo import Photo
from cea.io.writer import encode_photo
from cea.metrics.psnr import psnr
from cea.models.adapters.cea import ContinuousExpertAssembly
from cea.models.diagnostics import affinity_maps
from cea.models.network import RestorationNetwork
from cea.restoring.photographs import mixed, restored_wholly, warnings_of
from cea.restoring.receipt import grey_maps, numbers
from cea.restoring.restorer import Restorer
from cea.types import ImageF, ImageU8

ROUTING_SIDE = 1024
"""Longest side, in pixels, of the copy whose routing is shown: memory is that of a small picture."""

Step = Callable[[int, int], None]


@dataclass(frozen=True)
class Result:
    """A restoration.

    Attributes:
        restored: (H, W, 3) float32 in [0, 1], at full strength.
        estimates: what the network makes of the photograph.
        warnings: in which way it is unlike what weights are trained for.
        seconds: that it took.
    """

    restored: ImageF
    estimates: Estimates
    warnings: list[str]
    seconds: float


@dataclass(frozen=True)
class Gain:
    """How far pictures are from the clean one, PSNR in dB."""

    before: float
    after: float

    @property
    def db(self) -> float:
        """What the restoration gained."""
        return self.after - self.before


@dataclass
class Visit:
    """What one page in one browser holds.

    Attributes:
        restorer: the network.
        limits: the largest photograph.
        find: where recipes come from.
        tile: as in `cea.restoring.restorer.Restorer.restore`.
        busy: whether its photograph is being worked on.
        token: the name of the visit in addresses; nobody can guess it.
        name: of the photograph's file.
        photo: as it was given.
        told, degraded: how it was degraded first, where it was.
        result: the restoration.
    """

    restorer: Restorer
    limits: Limits = field(default_factory=Limits)
    find: Find = find
    tile: int | None = None
    busy: bool = False
    token: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    name: str = ""
    photo: Photo | None = None
    told: Replay | None = None
    degraded: Degraded | None = None
    result: Result | None = None

    def take(self, data: bytes, name: str) -> None:
        """Begin with the photograph in the bytes of a file called ``name``.

        Raises:
            ImageError: it cannot be read, or is too large; what was there stays.
        """
        photo = self.limits.read(data, name)
        self.forget()
        self.name, self.photo = PurePath(name).name or "photograph", photo

    def forget(self) -> None:
        """Let everything go."""
        self.name, self.photo = "", None
        self.undo()

    def undo(self) -> None:
        """Let go of all but the photograph."""
        self.told = self.degraded = self.result = None

    @property
    def stem(self) -> str:
        """The file's name without its ending, of characters that any file system takes."""
        kept = "".join(
            letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "_"
            for letter in PurePath(self.name).stem
        )
        return kept[:80] or "photograph"

    @property
    def before(self) -> Photo:
        """What is restored: the photograph, or its degraded copy.

        Raises:
            ConfigError: there is no photograph.
        """
        photo = self.photo if self.degraded is None else self.degraded.photo
        if photo is None:
            raise ConfigError("no photograph yet", expected="a photograph", remedy="choose a file")
        return photo

    def degrade(self, wish: Wish) -> None:
        """Degrade the photograph as ``wish`` says; a restoration of another one goes.

        Raises:
            ConfigError: a wish that cannot be.
        """
        self.undo()
        photo = self.before
        clean = as_rgb8(photo.over_white())
        told = drawn(clean, self.stem, wish, self.find)
        made = as_degraded(photo, told.record, rendered_again(clean, told, self.name))
        # Noise may have given a grey photograph colours: whether it is grey is seen from its pixels.
        self.told, self.degraded = told, replace(made, photo=replace(made.photo, grey=False))

    def restore(self, step: Step | None = None) -> None:
        """Restore the photograph, or its degraded copy; ``step`` as in `cea.inference.restore`.

        Raises:
            ImageError: not enough memory.
        """
        self.result = None
        start, photo = time.monotonic(), self.before
        restored, estimates = restored_wholly(self.restorer.network, photo, tile=self.tile, step=step)
        self.result = Result(restored, estimates, warnings_of(photo, estimates), time.monotonic() - start)

    def after(self, strength: float) -> Photo:
        """The restoration at a strength in [0, 1]: the pixels of ``cea restore --strength``."""
        return mixed(self.before, self._result().restored, strength)

    def gain(self, strength: float) -> Gain | None:
        """What was gained; None where the clean picture is not known."""
        if self.degraded is None or self.result is None:
            return None
        clean = self.degraded.rendered.clean
        return Gain(psnr(self.degraded.photo.rgb, clean), psnr(self.after(strength).rgb, clean))

    def maps(self) -> dict[str, ImageU8]:
        """What the network estimates, (H, W) uint8 by name, as in a receipt; at most 2048 pixels long."""
        estimates = self._result().estimates
        return {
            name: np.asarray(reduced(values, 2048))
            for name, values in grey_maps(estimates, self.before.rgb.shape[:2]).items()
        }

    def estimated(self) -> dict[str, Any]:
        """The numbers of the receipt."""
        estimates = self._result().estimates
        facts = numbers(estimates, dict.fromkeys(grey_maps(estimates, (1, 1)), ""))
        components = facts.get("severity", {}).get("components", {}).values()
        for entry in (*components, facts.get("expected_error", {})):
            entry.pop("map", None)  # no file lies beside it
        return facts

    @property
    def has_routing(self) -> bool:
        """Whether the network has experts to look at."""
        network = self.restorer.network
        adapters = network.backbone.adapters() if isinstance(network, RestorationNetwork) else {}
        return any(isinstance(adapter, ContinuousExpertAssembly) for adapter in adapters.values())

    def routing(self) -> dict[str, NDArray[np.float32]]:
        """Where each expert acts, (r, h, w) by site, of the picture at most `ROUTING_SIDE` long, without padding."""
        network = self.restorer.network
        if not isinstance(network, RestorationNetwork):
            return {}
        seen = reduced(self.before.over_white(), ROUTING_SIDE)
        maps = affinity_maps(network, seen)
        return {site: _without_padding(stack, seen.shape[:2], network.size_multiple) for site, stack in maps.items()}

    def png(self, strength: float) -> bytes:
        """The restored photograph as a file, in its own depth, with its alpha, EXIF and resolution."""
        return encode_photo(self.after(strength), ".png", label=self.name)[0]

    def record(self, strength: float) -> dict[str, Any]:
        """How the result was made; with the clean photograph ``cea degrade --replay`` makes its input again."""
        gain = self.gain(strength)
        height, width = self.before.rgb.shape[:2]
        return {
            "format": FORMAT,
            "cea": cea.__version__,
            "photograph": self.name,
            "height": height,
            "width": width,
            "input_sha256": pixel_sha256(self.before.rgb),
            "weights": {"name": self.restorer.name, "sha256": self.restorer.sha256},
            "strength": strength,
            "tile": self.tile,
            "estimates": self.estimated(),
            "psnr_db": gain and {"before": _two(gain.before), "after": _two(gain.after), "gain": _two(gain.db)},
            **(self.told.document() if self.told is not None else {"degradation": None, "fields": {}}),
        }

    def _result(self) -> Result:
        if self.result is None:
            raise ConfigError("nothing was restored yet", expected="a restoration", remedy="press Restore")
        return self.result


def _without_padding(stack: NDArray[np.float32], size: tuple[int, int], multiple: int) -> NDArray[np.float32]:
    """The part of (r, h, w) maps that shows the picture of ``size``; the network pads below and to the right."""
    rows, columns = (
        max(1, round(cells * length / (ceil(length / multiple) * multiple)))
        for cells, length in zip(stack.shape[1:], size, strict=True)
    )
    return stack[:, :rows, :columns]


def _two(db: float) -> float | None:
    return round(db, 2) if np.isfinite(db) else None
