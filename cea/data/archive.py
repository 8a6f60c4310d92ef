"""Tar files whose bytes depend on the names and contents of their members alone."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType

from cea.errors import DataError, brief

_LONGEST_NAME = 100
"""Bytes a USTAR header has for a name; longer ones would need PAX headers."""


class TarWriter:
    """Writes an uncompressed USTAR archive and tells where each member's bytes lie.

    Owner, mode and time are those of a fresh ``TarInfo``: ``mtime`` 0, mode 0644, no user.

    Args:
        path: the archive, overwritten.
    """

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 (closed by __exit__)

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Append a member; returns the offset and size of its contents within the archive, in bytes.

        Raises:
            DataError: the name is longer than a plain tar header holds.
        """
        if len(name.encode()) > _LONGEST_NAME:
            raise DataError(
                f"member name {name!r} is {len(name.encode())} bytes long",
                expected=f"at most {_LONGEST_NAME}",
                remedy="give the recipe a shorter name",
            )
        info = tarfile.TarInfo(name)
        info.size = len(data)
        offset = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(info, io.BytesIO(data))
        return offset, len(data)

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tar.close()


@dataclass(frozen=True)
class Member:
    """A file in a tar: its name, and where its bytes lie."""

    name: str
    offset: int
    size: int


def read_members(path: Path) -> list[Member]:
    """The members of a tar, from its headers; nothing is extracted.

    Raises:
        DataError: not a tar, cut short, or with a member that is no plain file in the archive's own folder: a link, a
            device, a folder, an absolute name, one with ``..``, or one name twice.
    """
    found: dict[str, Member] = {}
    try:
        with _Bounded(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                _check_member(path, info, found)
                found[info.name] = Member(info.name, info.offset_data, info.size)
    except (tarfile.TarError, OSError, ValueError, EOFError, RecursionError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: {brief(error)}", expected="a complete, uncompressed tar", remedy="make the shards again"
        ) from None
    if found and max(one.offset + one.size for one in found.values()) > path.stat().st_size:
        raise DataError(f"{path}: cut short", expected="a complete tar", remedy="make the shards again")
    return list(found.values())


class _Bounded(io.FileIO):
    """A file that takes no memory for more bytes than it has left, whatever a header asks for."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
            tarfile.ReadError: ``size`` is beyond the end by more than a block.
        """
        left = os.fstat(self.fileno()).st_size - self.tell()
        if size is not None and size > max(left, 0) + tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"a header that asks for {size} bytes, of which {max(left, 0)} are there")
        return super().read(size) or b""


def _check_member(path: Path, info: tarfile.TarInfo, known: dict[str, Member]) -> None:
    name = PurePosixPath(info.name)
    if not info.isreg() or info.issparse():
        what = "a link" if info.issym() or info.islnk() else "no plain file"
    elif info.size < 0:
        what = "of a negative size"
    elif name.is_absolute() or ".." in name.parts or "\\" in info.name or "\0" in info.name:
        what = "a name that leads out of the archive"
    elif info.name in known:
        what = "a name for the second time"
    else:
        return
    raise DataError(
        f"{path}: member {info.name[:200]!r} is {what}",
        expected="plain files, each with a name of its own inside the archive",
        remedy="use a tar from a source that you trust",
    )
