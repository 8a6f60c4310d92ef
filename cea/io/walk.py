"""The one walk over a folder of photographs: every file is a picture, or is named with the reason why not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cea.errors import DataError
from cea.io.faults import shown
from cea.io.images import IMAGE_SUFFIXES
from cea.io.sequences import in_order

UNREAD_SUFFIXES = frozenset(
    {".heic", ".heif", ".hif", ".jxl", ".psd", ".exr", ".hdr", ".svg", ".ico", ".pdf", ".djvu", ".jls", ".jxr"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw", ".raw", ".3fr", ".x3f"}
)
"""Pictures that no reader here takes: named as left out, never passed over in silence."""

_NOT_THE_USERS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8", b"\0\0\0\x0cjP  ")


@dataclass(frozen=True)
class Other:
    """No picture by suffix or content: text, tables, films."""

    path: Path


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
    listing = Found()
    for each in walk(folder, without=without):
        if isinstance(each, LeftOut):
            listing.left_out.append(each)
        elif isinstance(each, Other):
            listing.others.append(each.path)
        else:
            listing.pictures.append(each)
    listing.left_out.sort(key=by_path)
    listing.others.sort(key=lambda path: path.parts)
    return listing


def by_path(left_out: LeftOut) -> tuple[str, ...]:
    """By which what is left out is sorted."""
    return left_out.path.parts


def walk(folder: Path, *, without: Path | None = None) -> Iterator[Path | LeftOut | Other]:
    """The same one by one, as they are met: pictures, and all else among them, in the order of their paths as text.

    In memory are the names of 65,536 files of each open folder at the most (`in_order`).

    Raises:
        DataError: as `find_pictures`, with the first one.
        OSError: a folder with more files, and no room for their names on the disk.
    """
    if not folder.is_dir():
        raise DataError(
            f"{shown(folder)}: " + ("not a folder" if folder.exists() else "no such folder"),
            expected="a folder of photographs",
            remedy="check the path",
        )
    own = _identity(without) if without is not None and without.is_dir() else None
    try:
        entries = _entries(folder)
    except OSError as error:
        raise DataError(
            f"{shown(folder)}: {error.strerror}",
            expected="a folder that may be opened",
            remedy="change its permissions",
        ) from None
    here = _identity(folder)
    for entry in entries:
        yield from _look(entry, (here,), own)


def _entries(folder: Path) -> Iterator[Path]:
    """What is in ``folder``, so that all that is below follows in the order of its path as text.

    Raises:
        OSError: it cannot be opened.
    """
    found = os.scandir(folder)
    return (folder / os.fsdecode(key.rstrip(b"/")) for key in in_order(map(_key, found)))


def _key(entry: os.DirEntry[str]) -> bytes:
    try:
        inside = entry.is_dir()
    except OSError:  # said when it is looked at
        inside = False
    return os.fsencode(entry.name) + b"/" * inside


def _look(
    path: Path, above: tuple[tuple[int, int], ...], own: tuple[int, int] | None
) -> Iterator[Path | LeftOut | Other]:
    if path.name.startswith(".") or path.name.lower() in _NOT_THE_USERS:
        return
    try:
        path.name.encode()
    except UnicodeEncodeError:
        yield LeftOut(path, "its name is not UTF-8; rename it")
        return
    try:
        inside, is_file, exists = path.is_dir(), path.is_file(), path.exists()
    except OSError as error:  # a link to itself, a path too long
        yield LeftOut(path, f"{error.strerror}; remove it")
        return
    suffix = path.suffix.lower()
    if inside:
        yield from _enter(path, above, own)
    elif not is_file:
        if suffix in IMAGE_SUFFIXES | UNREAD_SUFFIXES or path.is_symlink():
            reason = "not a regular file" if exists else "a link that leads nowhere"
            yield LeftOut(path, f"{reason}; remove it")
        else:
            yield Other(path)
    elif suffix in UNREAD_SUFFIXES:
        yield LeftOut(path, f"{suffix[1:].upper()} is not read here; convert it to PNG or TIFF")
    else:
        yield path if suffix in IMAGE_SUFFIXES or _begins_as_picture(path) else Other(path)


def _enter(
    path: Path, above: tuple[tuple[int, int], ...], own: tuple[int, int] | None
) -> Iterator[Path | LeftOut | Other]:
    here = _identity(path)
    if here == own:
        return
    if here in above:
        yield LeftOut(path, "a link to a folder that it lies in; remove it")
        return
    try:
        entries = _entries(path)
    except OSError as error:
        yield LeftOut(path, f"{error.strerror}; allow reading the folder")
        return
    for entry in entries:
        yield from _look(entry, (*above, here), own)


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
