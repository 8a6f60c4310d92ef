"""Photographs that ship inside installed packages: real input without a download."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cea.config import Config
from cea.data.sources.base import Item, Loaded, Source
from cea.errors import ConfigError, DataError
from cea.io.images import read_rgb

_NASA = "public domain (NASA)"
_PLACES = {
    "scikit-image": ("skimage", "data"),
    "scikit-learn": ("sklearn", "datasets/images"),
}
"""Distribution -> import name, and the folder of its images below the package."""


@dataclass(frozen=True)
class Photograph(Item):
    """A photograph of a package, with its disparity map where the package has one."""

    path: Path
    disparity: Path | None = None

    def load(self) -> Loaded:
        """Read the file, and its depth where there is any."""
        # As stored: one of them, rocket, is in Adobe RGB, and the data have held its numbers from the beginning.
        rgb = read_rgb(self.path, self.name, convert=False)
        return Loaded(rgb, None if self.disparity is None else read_disparity(self.disparity))


@dataclass(frozen=True)
class _Entry:
    distribution: str
    file: str
    licence: str
    disparity: str | None = None


CATALOGUE: dict[str, _Entry] = {
    "astronaut": _Entry("scikit-image", "astronaut.png", _NASA),
    "chelsea": _Entry("scikit-image", "chelsea.png", "CC0, Stefan van der Walt"),
    "coffee": _Entry("scikit-image", "coffee.png", "CC0, Rachel Michetti"),
    "rocket": _Entry("scikit-image", "rocket.jpg", "public domain (SpaceX)"),
    "hubble": _Entry("scikit-image", "hubble_deep_field.jpg", _NASA),
    "motorcycle": _Entry(
        "scikit-image",
        "motorcycle_left.png",
        "no terms stated; Middlebury 2014 stereo set, as shipped with scikit-image",
        disparity="motorcycle_disp.npz",
    ),
    "china": _Entry("scikit-learn", "china.jpg", "CC BY 2.0, danielbuechele (flickr.com/photos/danielbuechele)"),
    "flower": _Entry("scikit-learn", "flower.jpg", "CC BY 2.0, vultilion (flickr.com/photos/vultilion)"),
}
"""The colour photographs in the wheels of scikit-image 0.26 and scikit-learn 1.9, with the terms their documentation
states. Left out: the right view of the motorcycle (the same scene) and pictures that are no photographs of scenes."""


class BundledConfig(Config):
    """Which of the photographs."""

    names: list[str] = Field(default_factory=lambda: list(CATALOGUE), min_length=1)
    """Names out of the catalogue."""


class Bundled(Source[BundledConfig]):
    """Photographs inside the scikit-image and scikit-learn packages, found without importing them."""

    Config = BundledConfig

    def items(self) -> Sequence[Item]:
        """The chosen photographs, in the configured order.

        Raises:
            ConfigError: a name that is not in the catalogue.
            DataError: a package or a file of it is missing.
        """
        return [_photograph(name) for name in self.config.names]


def _photograph(name: str) -> Photograph:
    if name not in CATALOGUE:
        raise ConfigError(
            f"ingest.sources.bundled.names: {name!r}",
            expected=f"names out of {', '.join(CATALOGUE)}",
            remedy="correct or remove it",
        )
    entry = CATALOGUE[name]
    folder = _folder(entry.distribution)
    path, disparity = folder / entry.file, folder / entry.disparity if entry.disparity else None
    for needed in (path, disparity):
        if needed is not None and not needed.is_file():
            raise DataError(
                f"photograph {name!r}: {needed} is missing",
                expected=f"the file that ships with {entry.distribution}",
                remedy=f"reinstall {entry.distribution}, or leave {name!r} out of ingest.sources.bundled.names",
            )
    return Photograph(name, f"{entry.distribution}/{entry.file}", entry.licence, path, disparity)


def _folder(distribution: str) -> Path:
    package, below = _PLACES[distribution]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(
            f"{distribution} is not installed",
            expected="the package that holds some of the bundled photographs",
            remedy=f"pip install {distribution}, or set ingest.source to folder",
        )
    return Path(spec.origin).parent / below


def read_disparity(path: Path) -> NDArray[np.uint16]:
    """Relative inverse depth of a stereo disparity map: scaled to 0 (far) .. 65535 (near).

    Disparity is inverse depth up to scale and offset (Z = b f / (d + d0)). Pixels seen by one camera only have none;
    they belong to the farther of their neighbours in the row, being hidden behind the nearer one.
    """
    with np.load(path) as archive:
        disparity = archive["arr_0"].astype(np.float64)
    filled = _fill(disparity)
    low, high = filled.min(), filled.max()
    return np.rint((filled - low) / (high - low) * 65535).astype(np.uint16)


def _fill(disparity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace NaN by the smaller of the nearest known values to the left and to the right."""
    known = np.where(np.isfinite(disparity), disparity, np.nan)
    columns = np.broadcast_to(np.arange(known.shape[1]), known.shape)
    left = np.maximum.accumulate(np.where(np.isnan(known), 0, columns), axis=1)
    right = np.minimum.accumulate(np.where(np.isnan(known), known.shape[1] - 1, columns)[:, ::-1], axis=1)[:, ::-1]
    sides = (np.take_along_axis(known, left, axis=1), np.take_along_axis(known, right, axis=1))
    filled = np.fmin(*sides)
    return np.where(np.isnan(filled), np.nanmin(known), filled)
