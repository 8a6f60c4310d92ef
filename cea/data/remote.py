"""Shards over http(s) and S3: each tar is fetched when it is first needed, checked once, and kept in a bounded cache.

The cache is a folder that any number of processes share. It holds the data sets that were read, each under the digest
of its indexes, laid out as ``data/shards`` is. A tar appears under its name when it is whole and checked. When room is
needed, the one that was not read for longest goes, never one that a process has open.

What a tar gives is what its index describes, wherever it was fetched from, or it is an error: where shards come from is
in no listing of code, and in no digest.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal, TypeVar

from pydantic import Field

from cea.config import Config
from cea.data.dataset import SplitList
from cea.data.shards import Rows, index_parts
from cea.data.summary import LOCAL, DamagedError, Place, kind_of, read_summary
from cea.data.tar_cache import locked, make_room, part_of, shared, stripe
from cea.data.tiles import tiles_folder
from cea.data.verification import check_tar
from cea.errors import DataError, brief, of_system
from cea.extras import require
from cea.io.faults import explained

CHANGES_NO_RESULT = True


class RemoteConfig(Config):
    """How shards are fetched; nothing here changes a result, as long as every shard is whole."""

    cache: str | None = Field(default=None, min_length=1)
    """Folder that keeps what was fetched; null: ``cea/shards`` in the user's folder for caches."""
    cache_gb: float = Field(default=20.0, gt=0, le=1_000_000)
    """Size of the cache in GB (10^9 bytes), indexes not counted; more than the tars that are read at the same time."""
    retries: int = Field(default=5, ge=0, le=100)
    """Further attempts after one that failed; the waits between them begin at half a second and double, up to 30 s."""
    damaged: Literal["stop", "skip"] = "stop"
    """What a training does about a shard that is missing, cut short, or not the one its index describes, after all
    attempts: ``stop``, or name it and take the next sample of the same recipe wherever one of it was due (which changes
    the result). Validation always stops."""


_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_LARGEST = {".json": 1 << 28, ".parquet": 1 << 32}
"""Bytes of an index that says nothing of its own size; the first is read whole."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_INDEXES = ("index.json", "index.parquet")
_ABANDONED_S = 86400

T = TypeVar("T")


@dataclass(frozen=True)
class Remote:
    """A data set elsewhere; a `cea.data.summary.Place` for its tars. Picklable, and of use in a forked process.

    Attributes:
        url: of the folder that holds the splits, ``https://...`` or ``s3://bucket/...``.
        config: how to fetch.
        root: the folder in the cache where its indexes lie; see `open_remote`.
        rows: of those indexes by ``<split>/<recipe>``, where the tars hold pixels.
    """

    url: str
    config: RemoteConfig
    root: Path
    rows: Mapping[str, Rows] = field(default_factory=dict, repr=False)

    def check(self, tar: Path, size: int) -> None:
        """Nothing: a tar's size is checked when it is fetched."""

    @contextmanager
    def opened(self, tar: Path) -> Iterator[int]:
        """A file descriptor of ``tar``, which is fetched and checked first where the cache lacks it.

        Raises:
            DamagedError: it is missing there, cut short, or not the one its index describes, at every attempt.
            DataError: the server did not answer; the disk is full; the cache is too small.
        """
        try:
            with explained(tar):
                handle = shared(tar)
                if handle is None:
                    handle = self._fetched(tar)
        except DamagedError as error:
            error.tar = tar
            raise
        try:
            os.utime(handle)
            yield handle
        finally:
            os.close(handle)

    def _fetched(self, tar: Path) -> int:
        """Fetch ``tar``, unless another process just did; opened."""
        with locked(stripe(self.cache, tar)):
            handle = shared(tar)
            if handle is not None:
                return handle
            size = read_summary(tar.parent, self)["tars"][tar.name]["bytes"]
            part = part_of(tar, size)
            try:
                make_room(self.cache, part, size, int(self.config.cache_gb * 1e9))
                _attempt(self.config.retries, lambda: self._take(tar, part, size))
                handle = shared(part)  # in use before it has its name, so that nobody removes it in between
                assert handle is not None
                part.replace(tar)
                return handle
            finally:
                part.unlink(missing_ok=True)

    def _take(self, tar: Path, part: Path, size: int) -> None:
        url = f"{self.url}/{tar.relative_to(self.root).as_posix()}"
        _download(url, part, size)
        try:
            rows = self.rows.get(tar.parent.relative_to(self.root).as_posix())
            check_tar(tar.parent, tar.name, part, rows.of_tar(tar.name) if rows else ())
        except DataError as error:
            raise DamagedError(
                f"{url}: {error.what.removeprefix(f'{part}: ')}",
                expected="the shard that its index describes",
                remedy="upload it again, or set train.remote.damaged to skip",
            ) from error

    @property
    def cache(self) -> Path:
        """The folder that all data sets share."""
        return self.root.parent


def shards_at(
    local: Path, url: str | None, config: RemoteConfig, splits: Mapping[str, SplitList]
) -> tuple[Path, Place]:
    """The folder that holds a folder of shards per split, and where its tars are: ``local``, or a cache of ``url``.

    Raises:
        DataError, ConfigError: as `open_remote`.
    """
    if url is None:
        return local, LOCAL
    remote = open_remote(url, config, {name: list(split.recipes) for name, split in splits.items()})
    return remote.root, remote


def open_remote(url: str, config: RemoteConfig, splits: Mapping[str, Sequence[str]]) -> Remote:
    """Fetch the indexes of a data set, so that ``<root>/<split>/<recipe>`` can be read as folders of shards are.

    Args:
        url: of the folder with the splits, laid out as ``data/shards``.
        config: how to fetch.
        splits: the recipes of each split.

    Raises:
        DataError: an index is missing, or is none; the server did not answer.
        ConfigError: no library for this kind of address.
    """
    require("fsspec", "reading shards from afar")
    require("s3fs" if url.startswith("s3:") else "aiohttp", f"reading {url.partition(':')[0]} addresses")
    url, cache = url.rstrip("/"), cache_folder(config)
    with explained(cache):
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache)
        incomplete = Path(mkdtemp(prefix=".partial-", dir=cache))
        try:
            remote = Remote(url, config, incomplete)
            folders = [f"{split}/{recipe}" for split, recipes in splits.items() for recipe in recipes]
            _fetch_indexes(remote, folders)
            rendered = [name for name in folders if kind_of(read_summary(incomplete / name, remote)) == "records"]
            tiles = {tiles_folder(incomplete / name).relative_to(incomplete).as_posix() for name in rendered}
            _fetch_indexes(remote, sorted(tiles))
            rows = {name: Rows(index_parts(incomplete / name, remote)) for name in folders}
            rows = {name: one for name, one in rows.items() if name not in rendered}
            root = cache / _digest(incomplete)
            if not root.is_dir():
                with suppress(OSError):  # another process was faster
                    incomplete.rename(root)
        finally:
            shutil.rmtree(incomplete, ignore_errors=True)
    return Remote(url, config, root, rows)


def cache_folder(config: RemoteConfig) -> Path:
    """Where fetched shards are kept."""
    if config.cache is not None:
        return Path(config.cache).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cea/shards"


def _fetch_indexes(remote: Remote, folders: Sequence[str]) -> None:
    for folder in folders:
        (remote.root / folder).mkdir(parents=True)
        for name in _INDEXES:
            get = partial(_download, f"{remote.url}/{folder}/{name}", remote.root / folder / name, None)
            try:
                _attempt(remote.config.retries, get)
            except DamagedError as error:
                raise DataError(
                    error.what,
                    expected="the folder of shards at train.shards, with its indexes",
                    remedy="correct train.shards, or upload all of data/shards",
                ) from error


def _digest(folder: Path) -> str:
    """Of the files below ``folder``, with their places."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def _sweep(cache: Path) -> None:
    """Remove indexes that a killed process was fetching."""
    for path in cache.glob(".partial-*"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)


def _attempt(retries: int, work: Callable[[], T]) -> T:
    """Call ``work`` until it does not fail.

    Raises:
        DamagedError: what came was missing or damaged each time.
        DataError: the disk is full, access is refused, or the server did not answer.
    """
    wait = _FIRST_WAIT_S
    for left in range(retries, -1, -1):
        try:
            return work()
        except (_RefusedError, _MissingError):
            raise
        except Exception as error:  # on purpose: each file system raises its own kinds
            if isinstance(error, OSError) and error.errno in _FULL:
                raise of_system(error) from error
            if not left:
                raise
            logging.info("%s; trying again in %.1f s", brief(error), wait)
        time.sleep(wait * random.uniform(0.5, 1.0))  # processes that failed together do not return together
        wait = min(2 * wait, _LONGEST_WAIT_S)
    raise AssertionError("unreachable")


class _MissingError(DamagedError):
    """Nothing at that address."""


class _RefusedError(DataError):
    """Access is denied."""


def _download(url: str, file: Path, size: int | None) -> None:
    """What is at ``url``, into ``file``.

    Raises:
        DamagedError: nothing there, or more than ``size`` bytes.
        DataError: no answer, or access denied.
    """
    import fsspec
    from fsspec.callbacks import Callback

    most = _LARGEST[Path(url).suffix] if size is None else size

    class Limit(Callback):  # type: ignore[misc]
        """Stops what has no end, before the disk is full."""

        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > most:
                raise _longer(url, most)

    try:
        system, name = fsspec.core.url_to_fs(url, **_options(url))
        system.get_file(name, str(file), callback=Limit())
    except FileNotFoundError:
        raise _MissingError(
            f"{url}: no such file", expected="a shard or its index", remedy="upload this file"
        ) from None
    except PermissionError as error:
        raise _RefusedError(
            f"{url}: {brief(error)}",
            expected="an address that may be read",
            remedy="set the keys in the environment (AWS_ACCESS_KEY_ID ..., or FSSPEC_S3_ANON=true)",
        ) from error
    except (DataError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        begun = file.is_file() and file.stat().st_size > 0
        kind = DamagedError if begun else DataError  # a transfer that breaks off each time is a shard that is cut short
        raise kind(
            f"{url}: {'breaks off: ' if begun else ''}{brief(error)}",
            expected="a server that sends it",
            remedy="see whether it is up, and run again",
        ) from error


def _longer(url: str, most: int) -> DamagedError:
    return DamagedError(
        f"{url}: longer than {most} bytes",
        expected="the file that belongs there",
        remedy="upload it again",
    )


def _options(url: str) -> dict[str, Any]:
    if url.startswith("s3:"):
        return {}  # keys and endpoint are those of the environment
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)}}
