"""A folder of the user's own photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from cea.config import Config
from cea.data.sources.base import Item, Loaded, Source
from cea.errors import DataError, ImageError
from cea.io.faults import shown
from cea.io.images import IMAGE_SUFFIXES, read_rgb
from cea.io.walk import Found, find_pictures
from cea.types import SPLITS, Split


@dataclass(frozen=True)
class File(Item):
    """An image file; upright by its EXIF orientation, grey as three channels, alpha over white."""

    path: Path
    side: Split | None = None

    @property
    def split(self) -> Split | None:
        """That of the folder ``train``, ``val`` or ``test`` that it lies in, if it does."""
        return self.side

    def load(self) -> Loaded:
        """Read the file; 16-bit files stay 16-bit."""
        return Loaded(read_rgb(self.path, self.name))


@dataclass(frozen=True)
class Unread(Item):
    """What the walk left out: named with its reason among what ingest refuses."""

    reason: str

    def load(self) -> Loaded:
        """Raise an `ImageError` with the reason."""
        what, _, remedy = self.reason.partition("; ")
        raise ImageError(f"{self.name}: {what}", expected="a picture that is read here", remedy=remedy)


class FolderConfig(Config):
    """Which folder."""

    path: str = Field(default="photographs", min_length=1)
    """The folder, searched with all folders below it; relative to the project."""

    licence: str = "not stated"
    """Terms under which the photographs may be used, kept in the table."""


class Folder(Source[FolderConfig]):
    """All pictures below a folder, by the walk that all commands share (`cea.io.walk`).

    What lies in its folders ``train``, ``val`` and ``test`` goes to that split.
    """

    Config = FolderConfig

    def check(self, root: Path) -> None:
        """Raise a DataError where there is no such folder, a link to a folder in it, or no image files."""
        _listing(root / self.config.path, self.config.path)

    def items(self) -> Sequence[Item]:
        """One item per picture, ordered by path, then what cannot be read.

        Raises:
            DataError: no such folder, a link to a folder in it, or no image files.
        """
        folder = Path(self.config.path)
        listing = _listing(folder, self.config.path)
        licence = self.config.licence
        pictures = [(path.relative_to(folder).as_posix(), path) for path in listing.pictures]
        return [
            *(File(name, "folder", licence, path, _side(name)) for name, path in pictures),
            *(
                Unread(shown(each.path.relative_to(folder)), "folder", licence, each.reason)
                for each in listing.left_out
            ),
        ]


def _listing(folder: Path, name: str) -> Found:
    if not folder.is_dir():
        raise DataError(
            f"{name}: no such folder",
            expected="a folder of photographs",
            remedy="set ingest.sources.folder.path, or ingest.source to bundled",
        )
    linked = next((path for path in sorted(folder.rglob("*")) if path.is_symlink() and path.is_dir()), None)
    if linked is not None:
        raise DataError(
            f"{shown(Path(name) / linked.relative_to(folder))}: a link to a folder, whose files DVC does not see",
            expected="folders and files, or links to files: what is read has to be watched",
            remedy="set ingest.sources.folder.path to that folder itself, or copy it",
        )
    listing = find_pictures(folder)
    if not listing.pictures and not listing.left_out:
        raise DataError(
            f"{name}: no image files",
            expected=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}, at any depth",
            remedy="put photographs there or set ingest.sources.folder.path; another clone and an experiment's own "
            "folder (--temp, --queue) have only those that DVC tracks: docs/remotes.md",
        )
    return listing


def _side(name: str) -> Split | None:
    first, inside, _ = name.partition("/")
    return next((split for split in SPLITS if inside and split == first), None)
