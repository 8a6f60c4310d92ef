"""Where the tars of a folder of shards are put: a folder that all workers see, or whatever fsspec opens, such as S3."""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cea.errors import ConfigError, InputError, brief
from cea.extras import missing
from cea.io.images import sync

PARTS = ".parts"
"""Below a place: a file of facts per tar, written after it, and gone once the index is there."""


class Place(Protocol):
    """Takes files whole or not at all. Small and picklable: every task gets one."""

    def read(self, name: str) -> bytes | None:
        """The bytes of a small file; None where there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Put a small file there, over one of that name."""

    def writing(self, name: str) -> Any:
        """Context of a path on this machine whose file is there as ``name`` once the block ends well."""

    def holds(self, name: str, size: int, sha256: str) -> bool:
        """Whether a file of that name and content is there."""


@dataclass(frozen=True)
class Shared:
    """A folder that exists, with one called `PARTS` in it, and that every node sees under the same path."""

    path: Path

    def read(self, name: str) -> bytes | None:
        """As in `Place`."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """As in `Place`."""
        with self.writing(name) as path:
            path.write_bytes(data)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """As in `Place`; never makes the folder: the worker of a lost node may still write when it is gone."""
        temporary = self.path / PARTS / uuid.uuid4().hex
        try:
            yield temporary
            sync(temporary)
            temporary.replace(self.path / name)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def holds(self, name: str, size: int, sha256: str) -> bool:
        """As in `Place`; reads the file."""
        try:
            with (self.path / name).open("rb") as file:
                return (
                    os.fstat(file.fileno()).st_size == size
                    and hashlib.file_digest(file, "sha256").hexdigest() == sha256
                )
        except FileNotFoundError:
            return False


@dataclass(frozen=True)
class Store:
    """A folder by address: ``s3://bucket/prefix/...``, or any other that fsspec opens.

    Objects of S3 are there whole or not at all. Other stores may show a file that is being written; nothing says that
    it is a part before it is whole.
    """

    url: str

    def read(self, name: str) -> bytes | None:
        """As in `Place`."""
        with self._explained():
            system, root = self._opened()
            try:
                return bytes(system.cat_file(f"{root}/{name}"))
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        """As in `Place`."""
        with self._explained():
            system, root = self._opened()
            system.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)  # noqa: PTH120 (an address)
            system.pipe_file(f"{root}/{name}", data)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """As in `Place`; the file is made on the worker's own disk."""
        with tempfile.TemporaryDirectory(prefix="cea-") as folder:
            path = Path(folder) / "part"
            yield path
            self.upload(path, name)

    def upload(self, path: Path, name: str) -> None:
        """Put a file of this machine there as ``name``."""
        with self._explained():
            system, root = self._opened()
            system.makedirs(root, exist_ok=True)
            system.put_file(str(path), f"{root}/{name}")

    def download(self, name: str, path: Path) -> None:
        """Copy a file from there to ``path``."""
        with self._explained():
            system, root = self._opened()
            system.get_file(f"{root}/{name}", str(path))

    def holds(self, name: str, size: int, sha256: str) -> bool:
        """As in `Place`, by its size: stores check what they take, and it is not fetched again for this."""
        with self._explained():
            system, root = self._opened()
            try:
                return int(system.info(f"{root}/{name}")["size"]) == size
            except FileNotFoundError:
                return False

    def names(self) -> list[str]:
        """Files directly there and in the folder of what is known of each."""
        with self._explained():
            system, root = self._opened()
            found = system.find(root) if system.exists(root) else []
            return [path.removeprefix(f"{root}/") for path in found]

    def remove(self, *names: str) -> None:
        """Remove files; those that are not there are no fault."""
        with self._explained():
            system, root = self._opened()
            for name in names:
                with suppress(FileNotFoundError):
                    system.rm_file(f"{root}/{name}")

    def _opened(self) -> tuple[Any, str]:
        """The file system and the path on it."""
        import fsspec

        try:
            system, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            raise missing(error.name or "s3fs", self.url) from None
        except ValueError as error:
            raise ConfigError(
                f"{self.url}: {brief(error)}",
                expected="an address that fsspec opens",
                remedy="for example s3://bucket/shards",
            ) from None
        return system, str(root).rstrip("/")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Whatever a store raises as an `OSError` without a number, which names the address and may pass."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # botocore's and aiohttp's have no common kind
            raise OSError(f"{self.url}: {brief(error)}") from None


def facts_name(tar: str) -> str:
    """The file with the facts about ``tar``."""
    return f"{PARTS}/{tar}.json"
