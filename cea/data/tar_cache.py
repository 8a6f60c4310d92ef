"""A folder of tars that several processes fill and read, of bounded size: the one not read for longest goes first.

A tar that somebody has open is locked and stays. What a killed process was fetching is told from what is on its way by
the lock that its process held.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cea.errors import ConfigError, DataError

_WAIT_S = 60.0
_STRIPES = 64
_PART = re.compile(r"\.(?P<name>.+\.tar)\.(?P<size>\d+)\.part")


def part_of(tar: Path, size: int) -> Path:
    """Where ``tar`` is written to until its ``size`` bytes are there; they count from the beginning, by this name."""
    return tar.with_name(f".{tar.name}.{size}.part")


def shared(path: Path) -> int | None:
    """``path`` opened and marked as in use until it is closed; None where it is not there."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock file ``path``; the system lets go of it however this process ends. Yields whether it is held."""
    path.parent.mkdir(exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        held = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(handle)


def stripe(cache: Path, tar: Path) -> Path:
    """The lock under which ``tar`` is fetched: one of a few files, not one more per tar."""
    number = int(hashlib.sha256(tar.relative_to(cache).as_posix().encode()).hexdigest(), 16) % _STRIPES
    return cache / ".locks" / f"{number:02d}"


def make_room(cache: Path, part: Path, size: int, limit: int) -> None:
    """Remove what was not read for longest until ``size`` more bytes are within ``limit``, and take their place.

    Raises:
        ConfigError: the limit is below ``size``.
        DataError: everything else is in use for a minute.
    """
    if size > limit:
        raise ConfigError(
            f"train.remote.cache_gb = {limit / 1e9:g}: {part.name[1:].partition('.tar')[0]}.tar has {size} bytes",
            expected="room for one shard at least",
            remedy="raise train.remote.cache_gb",
        )
    deadline = time.monotonic() + _WAIT_S
    while True:
        with locked(cache / ".locks" / "room"):
            if _held(cache, part, limit - size) <= limit - size:
                part.touch()  # from here on its size counts, by its name
                return
        if time.monotonic() > deadline:
            raise DataError(
                f"{cache}: all shards in it are in use, and {size} bytes more do not fit",
                expected=f"at most {limit} bytes (train.remote.cache_gb)",
                remedy="raise it, or read with fewer processes",
            )
        time.sleep(0.1)


def _held(cache: Path, part: Path, limit: int) -> int:
    """Bytes of tars in the cache and on their way, after removing the oldest ones beyond ``limit``."""
    tars, total = [], 0
    for folder, _, names in os.walk(cache):
        for name in names:
            path, on_its_way = Path(folder, name), _PART.fullmatch(name)
            if path == part or not (on_its_way or name.endswith(".tar")):
                continue
            with suppress(FileNotFoundError):
                if on_its_way is None:
                    facts = path.stat()
                    tars.append((facts.st_mtime_ns, facts.st_size, path))
                    total += facts.st_size
                elif not _is_abandoned(cache, path, path.with_name(on_its_way["name"]), part):
                    total += int(on_its_way["size"])
    for _, size, path in sorted(tars):
        if total <= limit:
            break
        total -= size if _removed(path) else 0
    return total


def _is_abandoned(cache: Path, path: Path, tar: Path, own: Path) -> bool:
    """Whether whoever was fetching ``tar`` is gone; what it left is removed then."""
    match = _PART.fullmatch(own.name)
    assert match is not None
    lock = stripe(cache, tar)
    if lock == stripe(cache, own.with_name(match["name"])):  # held by this process, so by nobody else
        path.unlink(missing_ok=True)
        return True
    with locked(lock, wait=False) as held:
        if held:
            path.unlink(missing_ok=True)
        return held


def _removed(path: Path) -> bool:
    """Remove a tar, unless somebody has it open."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
