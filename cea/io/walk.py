"""The one walk over a folder of photographs: every file is a picture, or is named with the reason why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cea.errors import DataError
from cea.io.faults import shown
from cea.io.images import IMAGE_SUFFIXES

UNREAD_SUFFIXES = frozenset(
    {".heic", ".heif", ".hif", ".jxl", ".psd", ".exr", ".hdr", ".svg", ".ico", ".pdf", ".djvu", ".jls", ".jxr"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw", ".raw", ".3fr", ".x3f"}
)
"""Pictures that no reader here takes: named as left out, never passed over in silence."""

_NOT_THE_USERS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8", b"\0\0\0\x0cjP  ")


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not processed, and why."""

    path: Path
    reason: str


@dataclass
class Found:
    """What a folder holds, each in the order of its path.

    Attributes:
        pictures: to be read.
        left_out: what was meant to be read, and cannot be: exit status 2.
        others: no pictures by suffix or content: text, tables, films.
    """

    pictures: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def find_pictures(folder: Path, *, without: Path | None = None) -> Found:
    """All pictures below ``folder``, at any depth.

    * What is hidden (``.x``, ``._x``) and what systems leave behind (``Thumbs.db``, ``__MACOSX``) are skipped.
    * Links to files and folders are followed; a link to nothing, or to a folder that it lies in, is left out.
    * A folder may be called ``a.jpg``: it is entered. One that cannot be opened is left out.
    * A picture is what has a known suffix, or begins as a picture does; formats that no reader here takes are left out.

    Args:
        folder: an existing folder.
        without: a folder that is not entered: the one that is written to.

    Raises:
        DataError: ``folder`` is missing, is no folder, or cannot be opened.
    """
    if not folder.is_dir():
        raise DataError(
            f"{shown(folder)}: " + ("not a folder" if folder.exists() else "no such folder"),
            expected="a folder of photographs",
            remedy="check the path",
        )
    listing = Found()
    own = _identity(without) if without is not None and without.is_dir() else None
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"{shown(folder)}: {error.strerror}",
            expected="a folder that may be opened",
            remedy="change its permissions",
        ) from None
    for entry in entries:
        _look(entry, listing, (_identity(folder),), own)
    listing.pictures.sort(key=lambda path: path.relative_to(folder).as_posix())
    return listing


def _look(path: Path, listing: Found, above: tuple[tuple[int, int], ...], own: tuple[int, int] | None) -> None:
    if path.name.startswith(".") or path.name.lower() in _NOT_THE_USERS:
        return
    try:
        path.name.encode()
    except UnicodeEncodeError:
        listing.left_out.append(LeftOut(path, "its name is not UTF-8; rename it"))
        return
    try:
        if path.is_dir():
            _enter(path, listing, above, own)
            return
        is_file, exists = path.is_file(), path.exists()
    except OSError as error:  # a link to itself, a path too long
        listing.left_out.append(LeftOut(path, f"{error.strerror}; remove it"))
        return
    suffix = path.suffix.lower()
    if not is_file:
        if suffix in IMAGE_SUFFIXES | UNREAD_SUFFIXES or path.is_symlink():
            reason = "not a regular file" if exists else "a link that leads nowhere"
            listing.left_out.append(LeftOut(path, f"{reason}; remove it"))
        else:
            listing.others.append(path)
    elif suffix in UNREAD_SUFFIXES:
        listing.left_out.append(LeftOut(path, f"{suffix[1:].upper()} is not read here; convert it to PNG or TIFF"))
    elif suffix in IMAGE_SUFFIXES or _begins_as_picture(path):
        listing.pictures.append(path)
    else:
        listing.others.append(path)


def _enter(path: Path, listing: Found, above: tuple[tuple[int, int], ...], own: tuple[int, int] | None) -> None:
    here = _identity(path)
    if here == own:
        return
    if here in above:
        listing.left_out.append(LeftOut(path, "a link to a folder that it lies in; remove it"))
        return
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        listing.left_out.append(LeftOut(path, f"{error.strerror}; allow reading the folder"))
        return
    for entry in entries:
        _look(entry, listing, (*above, here), own)


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _begins_as_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    is_webp, is_avif = head[:4] == b"RIFF" and head[8:12] == b"WEBP", head[4:12] == b"ftypavif"
    return head.startswith(_MAGIC) or is_webp or is_avif
