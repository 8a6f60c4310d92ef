"""A folder of the user's own photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from cea.config import Config
from cea.data.sources.base import Item, Loaded, Source
from cea.errors import DataError
from cea.io.images import IMAGE_SUFFIXES, read_rgb


@dataclass(frozen=True)
class File(Item):
    """An image file; upright by its EXIF orientation, grey as three channels, alpha over white."""

    path: Path

    def load(self) -> Loaded:
        """Read the file; 16-bit files stay 16-bit."""
        return Loaded(read_rgb(self.path, self.name))


class FolderConfig(Config):
    """Which folder."""

    path: str = Field(default="photographs", min_length=1)
    """The folder, searched with all folders below it; relative to the project."""

    licence: str = "not stated"
    """Terms under which the photographs may be used, kept in the table."""


class Folder(Source[FolderConfig]):
    """All images below a folder, in any format of ``imageio.IMAGE_SUFFIXES``; hidden files are left out."""

    Config = FolderConfig

    def items(self) -> Sequence[Item]:
        """One item per file, ordered by path.

        Raises:
            DataError: no such folder, or no image files in it.
        """
        folder = Path(self.config.path)
        if not folder.is_dir():
            raise DataError(
                f"{folder}: no such folder",
                expected="a folder of photographs",
                remedy="set ingest.sources.folder.path, or ingest.source to bundled",
            )
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if _is_image(path, folder))
        if not names:
            raise DataError(
                f"{folder}: no image files",
                expected=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}, at any depth",
                remedy="put photographs there or set ingest.sources.folder.path",
            )
        return [File(name, "folder", self.config.licence, folder / name) for name in names]


def _is_image(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file()
