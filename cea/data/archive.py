"""Tar files whose bytes depend on the names and contents of their members alone."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from types import TracebackType

from cea.errors import DataError

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
