"""Openly licensed photographs out of installed packages: the bundled ones, and those of Debian's wallpaper packages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from pydantic import Field

from cea.config import Config
from cea.data.sources.base import Item, Loaded, Source
from cea.data.sources.bundled import CATALOGUE as BUNDLED
from cea.data.sources.bundled import Bundled, BundledConfig
from cea.errors import ConfigError, DataError
from cea.io.images import read_rgb, reduced
from cea.levels import to_uint8
from cea.rng import generator, stream
from cea.types import ImageU8, Split


@dataclass(frozen=True)
class _Entry:
    file: str
    author: str
    licence: str


PACKAGE = "lomiri-wallpapers-16.04"
CATALOGUE: dict[str, _Entry] = {
    "aitzgorri": _Entry("aitzgorri_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    "brushes": _Entry("Picture_1A_by_freespace.jpg", 'Trevor "Freespace"', "CC-BY-4.0"),
    "dandelion": _Entry("seeding_by_Clements_Engelhardt.jpg", "Clemens Engelhardt", "CC0-1.0"),
    "fig": _Entry("Picture_0B_by_freespace.jpg", 'Trevor "Freespace"', "CC-BY-4.0"),
    "friends": _Entry("friends_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    "life": _Entry("life_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    "picosdeeuropa": _Entry("picosdeeuropa_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    "sunset": _Entry("sunset_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", "CC-BY-4.0"),
    "wine": _Entry("Wine_by_Jakkub_Mede.jpg", "Jakub Mede", "CC-BY-4.0"),
}
"""The photographs of scenes in lomiri-wallpapers-16.04 whose terms ask for attribution at most, as its ``copyright``
file states them. Left out: four under CC BY-SA, and ``umang``, which is a drawing."""


@dataclass(frozen=True)
class Wallpaper(Item):
    """A photograph of a wallpaper package; it is trained on, and never tested on."""

    path: Path

    @property
    def split(self) -> Split:
        """Training: the bundled photographs alone are dealt over the splits, so that results stay comparable."""
        return "train"

    def load(self) -> Loaded:
        """Read the file."""
        return Loaded(read_rgb(self.path, self.name))


@dataclass(frozen=True)
class DistantView(Wallpaper):
    """The whole photograph, small: a training patch then shows much of a scene, as in small photographs."""

    side: int

    def load(self) -> Loaded:
        """Read the file and reduce it to ``side`` pixels on its longer side."""
        return Loaded(reduced(read_rgb(self.path, self.name), self.side))


@dataclass(frozen=True)
class CloseUp(Wallpaper):
    """A square of the photograph near its native resolution: smooth and evenly lit, as a camera sees what is near."""

    number: int

    def load(self) -> Loaded:
        """Read the file and cut a square of at most 640 pixels out of it, at a place that name and number decide."""
        rgb = reduced(read_rgb(self.path, self.name), _CLOSE_UP_OF)
        places = generator(stream("close-up", self.path.name, self.number))
        top, left = (int(places.random() * max(side - _CLOSE_UP + 1, 1)) for side in rgb.shape[:2])
        return Loaded(rgb[top : top + _CLOSE_UP, left : left + _CLOSE_UP])


@dataclass(frozen=True)
class Toned(Wallpaper):
    """A view of a photograph in another tone: lighter or darker, flatter, paler, warmer or colder.

    Of few photographs a network learns levels and contrast by heart, and takes other scenes for hazy or dark.
    """

    view: Wallpaper
    number: int

    def load(self) -> Loaded:
        """Read the view and change its tone, as its name and number decide."""
        return Loaded(_toned(self.view.load().rgb, generator(stream("tone", self.view.name, self.number))))


def _toned(rgb: ImageU8, draws: Generator) -> ImageU8:
    """Gamma of 0.7 to 1.6, saturation of 0.4 to 1.2, gains of the channels of 0.92 to 1.08, and 0.5 to 1 of the
    contrast, for two in five about black, so that they are darker, and about a level of up to 0.9."""
    gamma = 2 ** draws.uniform(-0.5, 0.7)
    saturation, contrast = draws.uniform(0.4, 1.2), draws.uniform(0.5, 1.0)
    level, gains = max(draws.uniform(-0.6, 0.9), 0.0), draws.uniform(0.92, 1.08, 3)
    image = (rgb / np.float32(255)) ** np.float32(gamma)
    grey = image.mean(-1, keepdims=True)
    image = (grey + saturation * (image - grey)) * gains
    return to_uint8((level + contrast * (image - level)).clip(0, 1).astype(np.float32))


_CLOSE_UP = 640
_CLOSE_UP_OF = 2600
"""Pixels on the longer side, to which photographs are reduced before close-ups are cut: less noise, no JPEG blocks."""


class PackagesConfig(Config):
    """Which photographs, and where the package has put them."""

    bundled: list[str] = Field(default_factory=lambda: list(BUNDLED))
    """Names out of the catalogue of the source ``bundled``; dealt over the splits by content."""

    names: list[str] = Field(default_factory=lambda: list(CATALOGUE))
    """Names out of this source's own catalogue; trained on."""

    folder: str = Field(default="/usr/share/backgrounds", min_length=1)
    """Where the files of the package lie: as installed, or a folder into which it was unpacked."""

    distant_side: int = Field(default=0, ge=0)
    """Longer side in pixels of a second, small view of each wallpaper; 0 for none."""

    close_ups: int = Field(default=0, ge=0, le=100)
    """Squares of 640 pixels that are cut out of each wallpaper at higher resolution, as images of their own."""

    tones: int = Field(default=0, ge=0, le=100)
    """Copies of each view of each wallpaper that have another brightness, contrast and colour, at random."""


class Packages(Source[PackagesConfig]):
    """Photographs of installed packages, read where they are; nothing is copied into the project but what is made."""

    Config = PackagesConfig

    def items(self) -> Sequence[Item]:
        """The bundled photographs, then the wallpapers with their views, each in the configured order.

        Raises:
            ConfigError: a name that is in neither catalogue.
            DataError: a package or a file of it is missing.
        """
        bundled = Bundled(BundledConfig(names=self.config.bundled)).items() if self.config.bundled else []
        return [*bundled, *(view for name in self.config.names for view in self._views(name))]

    def _views(self, name: str) -> Iterator[Wallpaper]:
        if name not in CATALOGUE:
            raise ConfigError(
                f"ingest.sources.packages.names: {name!r}",
                expected=f"names out of {', '.join(CATALOGUE)}",
                remedy="correct or remove it",
            )
        entry = CATALOGUE[name]
        path = Path(self.config.folder) / entry.file
        if not path.is_file():
            raise DataError(
                f"photograph {name!r}: {path} is missing",
                expected=f"the file of the Debian package {PACKAGE}",
                remedy=f"apt-get install {PACKAGE}, or unpack it and set ingest.sources.packages.folder",
            )
        rest = f"{PACKAGE}/{entry.file}", f"{entry.licence}, {entry.author}", path
        views = [Wallpaper(name, *rest)]
        if self.config.distant_side:
            views.append(DistantView(f"{name}-distant", *rest, self.config.distant_side))
        views += [CloseUp(f"{name}-close-up-{number}", *rest, number) for number in range(self.config.close_ups)]
        for view in views:
            yield view
            for number in range(self.config.tones):
                yield Toned(f"{view.name}-tone-{number}", *rest, view, number)
