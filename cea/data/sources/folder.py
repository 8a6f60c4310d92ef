"""A folder of the user's own photographs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from cea.config import Config
from cea.data.sources.base import Item, Loaded, Source
from cea.errors import DataError, ImageError
from cea.io.faults import shown
from cea.io.images import IMAGE_SUFFIXES, read_rgb
from cea.io.walk import LeftOut, Other, by_path, walk
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
        _check(root / self.config.path, self.config.path)

    def items(self) -> Iterator[Item]:
        """One item per picture, ordered by path, then what cannot be read; the folder is walked as they are asked for.

        Raises:
            DataError: no such folder, a link to a folder, or no image files.
        """
        folder = Path(self.config.path)
        _check(folder, self.config.path)
        return self._items(folder)

    def _items(self, folder: Path) -> Iterator[Item]:
        licence, left_out = self.config.licence, []
        for each in walk(folder):
            if isinstance(each, LeftOut):
                left_out.append(each)
            elif not isinstance(each, Other):
                name = each.relative_to(folder).as_posix()
                yield File(name, "folder", licence, each, _side(name))
        for each in sorted(left_out, key=by_path):
            yield Unread(shown(each.path.relative_to(folder)), "folder", licence, each.reason)


def _check(folder: Path, name: str) -> None:
    if not folder.is_dir():
        raise DataError(
            f"{name}: no such folder",
            expected="a folder of photographs",
            remedy="set ingest.sources.folder.path, or ingest.source to bundled",
        )
    linked = min(_linked(folder), default=None)
    if linked is not None:
        raise DataError(
            f"{shown(Path(name) / linked.relative_to(folder))}: a link to a folder, whose files DVC does not see",
            expected="folders and files, or links to files: what is read has to be watched",
            remedy="set ingest.sources.folder.path to that folder itself, or copy it",
        )
    if all(isinstance(each, Other) for each in walk(folder)):
        raise DataError(
            f"{name}: no image files",
            expected=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}, at any depth",
            remedy="put photographs there or set ingest.sources.folder.path; another clone and an experiment's own "
            "folder (--temp, --queue) have only those that DVC tracks: docs/remotes.md",
        )


def _linked(folder: Path) -> Iterator[Path]:
    """Links to folders, at any depth; what cannot be opened holds none."""
    try:
        entries = os.scandir(folder)
    except PermissionError:
        return
    with entries:
        for entry in entries:
            path = folder / entry.name
            if entry.is_symlink():
                if path.is_dir():
                    yield path
            elif entry.is_dir():
                yield from _linked(path)


def _side(name: str) -> Split | None:
    first, inside, _ = name.partition("/")
    return next((split for split in SPLITS if inside and split == first), None)
