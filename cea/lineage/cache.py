"""What DVC's cache holds of one training, and nothing else refers to."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cea.lineage.facts import git


@dataclass(frozen=True)
class CacheEntries:
    """Files of the cache that may go: objects, and the run-cache's records that name them."""

    objects: tuple[Path, ...]
    records: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(path.stat().st_size for path in self.objects)

    def remove(self) -> None:
        """Delete them; DVC write-protects objects, which does not hinder it."""
        for path in self.objects:
            path.unlink(missing_ok=True)
        for path in self.records:
            shutil.rmtree(path.parent, ignore_errors=True)


def cache_folder(root: Path) -> Path:
    """The project's cache where nothing else is configured, which is also the only one that is tidied."""
    return root / ".dvc" / "cache"


def folder_size(folder: Path) -> int:
    """Bytes of all files below ``folder``; what goes while they are counted is not."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_size
    return total


def of_weights(root: Path, weights: Path) -> CacheEntries:
    """What stages train, evaluate and report left in the cache of the run that trained ``weights``.

    What dvc.lock names, in the working tree or at the tip of any branch, tag or experiment, stays.
    """
    cache = cache_folder(root)
    digest = hashlib.md5(weights.read_bytes(), usedforsecurity=False).hexdigest()
    folders, kept = _folders(cache), _in_use(root)
    models = {name for name, members in folders.items() if digest in members}
    if models & kept:  # the current run, or a committed one: nothing of it goes
        return CacheEntries((), ())
    records: dict[Path, dict[str, Any]] = {path: read for path in cache.glob("runs/*/*/*") if (read := _record(path))}
    gone = {path for path, one in records.items() if models & _named(one, "deps", "outs")}
    made = models | {out for path in gone for out in _named(records[path], "outs")}
    others = kept | {name for path, one in records.items() if path not in gone for name in _named(one, "deps", "outs")}
    doomed = made - others  # runs may share an output: an empty table is the same in all of them
    used = others | {member for name, members in folders.items() if name not in doomed for member in members}
    names = (doomed | {member for name in doomed for member in folders.get(name, ())}) - used
    objects = (_object(cache, name) for name in sorted(names))
    return CacheEntries(tuple(path for path in objects if path.is_file()), tuple(sorted(gone)))


def _object(cache: Path, name: str) -> Path:
    return cache / "files" / "md5" / name[:2] / name[2:]


def _folders(cache: Path) -> dict[str, set[str]]:
    digests = {}
    for path in cache.glob("files/md5/*/*.dir"):
        digests[path.parent.name + path.name] = {entry["md5"] for entry in json.loads(path.read_bytes())}
    return digests


def _record(path: Path) -> dict[str, Any]:
    try:
        read = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, YAMLError, UnicodeDecodeError):
        return {}
    return read if isinstance(read, dict) else {}


def _named(entry: dict[str, Any], *kinds: str) -> set[str]:
    return {one["md5"] for kind in kinds for one in entry.get(kind, []) if "md5" in one}


def _in_use(root: Path) -> set[str]:
    return {digest for text in _locks(root) for digest in _digests(text)}


def _locks(root: Path) -> Iterator[bytes]:
    if (root / "dvc.lock").is_file():
        yield (root / "dvc.lock").read_bytes()
    references = git("for-each-ref", "--format=%(objectname)", folder=root) or b""
    for commit in dict.fromkeys(references.decode().split()):
        text = git("show", f"{commit}:./dvc.lock", folder=root)
        if text is not None:
            yield text


def _digests(lock: bytes) -> set[str]:
    """Outputs by any digest in the file: a lock that cannot be parsed keeps what it names all the same."""
    words = (line.strip().removeprefix(b"- ").split(b": ", 1) for line in lock.splitlines())
    return {word[1].decode(errors="replace") for word in words if len(word) == 2 and word[0] == b"md5"}
