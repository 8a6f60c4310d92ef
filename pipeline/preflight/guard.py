"""Mend what a kill or a disk does to DVC's own files: ``make repro`` runs this before ``dvc repro``.

DVC writes dvc.lock and .dvc/tmp/rwlock in place, so a kill at that moment leaves half a file, and every later command
refuses it; and it takes the objects of its cache for what their names say. Here a cut lock is replaced by the copy that
each stage keeps as it starts, or by that of the last commit; what dead processes left in rwlock goes; and objects that
dvc.lock speaks of are read once, and again whenever their time or size has changed. A damaged one is made whole from
the workspace, or removed, so that DVC makes it again. While another DVC is at work nothing is touched.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cea.errors import InputError, one_line, status_of
from cea.io.faults import explained
from cea.io.images import atomic_path, write_bytes

CHANGES_NO_RESULT = True

_LOCK, _TMP = Path("dvc.lock"), Path(".dvc/tmp")
_COPIES = (_TMP / "dvc.lock.whole", _TMP / "dvc.lock.whole.before")
_VERIFIED = _TMP / "verified.json"


def keep_lock(root: Path) -> None:
    """Keep a copy of dvc.lock, as a stage starts: DVC does not write it then."""
    lock, copies = root / _LOCK, [root / copy for copy in _COPIES]
    if not lock.is_file() or not (root / _TMP).is_dir():
        return
    data = lock.read_bytes()
    if copies[0].is_file():
        if copies[0].read_bytes() == data:
            return
        copies[0].replace(copies[1])
    write_bytes(copies[0], data, durable=False)


def repair(root: Path, *, deep: bool = False) -> list[str]:
    """Mend DVC's files in the project at ``root``; what was done, in a sentence each.

    Args:
        root: the project.
        deep: read every object of the cache again, also those that seem untouched since they were read last.

    Raises:
        DataError: a file that cannot be read or written.
    """
    if not (root / _TMP).is_dir():
        return []
    with explained(None):
        said = _repair_rwlock(root / _TMP / "rwlock")
        if said is None:
            return []  # another DVC is at work
        return said + _repair_lock(root) + _repair_cache(root, deep)


def _repair_rwlock(path: Path) -> list[str] | None:
    """Sentences; None where a process that lives holds something."""
    try:
        held = json.loads(path.read_bytes())
        holders = [*held.get("write", {}).values(), *(one for some in held.get("read", {}).values() for one in some)]
        processes = {int(holder["pid"]) for holder in holders}
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, AttributeError):
        path.unlink()
        return [f"{path}: was cut short, removed"]
    if any(Path("/proc", str(process)).exists() for process in processes):
        return None
    if not processes:
        return []
    path.unlink()
    return [f"{path}: the processes {', '.join(map(str, sorted(processes)))} are gone, removed"]


def _repair_lock(root: Path) -> list[str]:
    lock = root / _LOCK
    if not lock.is_file() or _stages(lock.read_bytes()) is not None:
        return []
    sources = {str(copy): (root / copy).read_bytes() for copy in _COPIES if (root / copy).is_file()}
    shown = subprocess.run(["git", "show", f"HEAD:./{_LOCK}"], cwd=root, capture_output=True, check=False)
    sources["the last commit"] = shown.stdout
    for source, data in sources.items():
        if _stages(data):
            write_bytes(lock, data)
            return [f"{lock}: was cut short, replaced by that of {source}"]
    lock.unlink()
    return [f"{lock}: was cut short, removed; DVC's run cache knows what has been made"]


def _stages(data: bytes) -> dict[str, Any] | None:
    """What a lock file says of each stage; None for one that is not whole."""
    try:
        value = YAML(typ="safe").load(data.decode())
    except (YAMLError, ValueError):
        return None
    if not isinstance(value, dict) or value.get("schema") != "2.0" or not isinstance(value.get("stages"), dict):
        return None
    whole = all(isinstance(one, dict) and isinstance(one.get("cmd"), str) for one in value["stages"].values())
    return value["stages"] if whole and data.endswith(b"\n") else None


@dataclass(frozen=True)
class _Object:
    """An object of the cache: its name's MD5, where it lies, and where the workspace holds the same bytes."""

    digest: str
    path: Path
    workspace: Path


def _repair_cache(root: Path, deep: bool) -> list[str]:
    lock, cache = root / _LOCK, _cache(root) / "files/md5"
    stages = (_stages(lock.read_bytes()) or {}) if lock.is_file() else {}
    verified, said = _verified(root / _VERIFIED), []
    now: dict[str, list[int]] = {}
    for one in _objects(root, cache, stages):
        if not one.path.is_file():
            continue
        mark = _mark(one.path)
        if deep or verified.get(str(one.path)) != mark:
            sentence = _repair_object(one)
            if sentence:
                said.append(sentence)
            if not one.path.is_file():
                continue
            mark = _mark(one.path)
        now[str(one.path)] = mark
    if now != verified:
        write_bytes(root / _VERIFIED, json.dumps(now).encode(), durable=False)
    return said


def _repair_object(one: _Object) -> str | None:
    """Read an object; where it is damaged, make it whole or remove it, and its damaged copy in the workspace."""
    if _md5(one.path) == one.digest:
        return None
    if one.workspace.is_file() and _md5(one.workspace) == one.digest:
        with atomic_path(one.path) as temporary:
            shutil.copyfile(one.workspace, temporary)
        one.path.chmod(0o444)
        return f"{one.path}: was damaged, made whole from {one.workspace}"
    one.path.unlink()
    if one.workspace.is_file():  # checked out from the damaged object, and DVC takes it for sound
        one.workspace.unlink()
    return f"{one.path}: was damaged, removed with {one.workspace}; dvc repro makes it again"


def _objects(root: Path, cache: Path, stages: Mapping[str, Any]) -> Iterator[_Object]:
    """Every object that a lock file speaks of, files of folders included; each once."""
    seen: set[str] = set()
    outs = [out for stage in stages.values() for out in stage.get("outs") or () if isinstance(out, dict)]
    for out in outs:
        digest, workspace = str(out.get("md5", "")), root / str(out.get("path", ""))
        if not digest or digest in seen:
            continue
        seen.add(digest)
        path = cache / digest[:2] / digest[2:]
        if not digest.endswith(".dir"):
            yield _Object(digest, path, workspace)
            continue
        yield _Object(digest.removesuffix(".dir"), path, Path(os.devnull, "none"))
        for entry in _entries(path):
            if entry["md5"] not in seen:
                seen.add(entry["md5"])
                inner = cache / entry["md5"][:2] / entry["md5"][2:]
                yield _Object(entry["md5"], inner, workspace / entry["relpath"])


def _entries(path: Path) -> list[dict[str, str]]:
    """What a folder's object lists; nothing where it is gone (a damaged one has been removed by now)."""
    return json.loads(path.read_bytes()) if path.is_file() else []


def _cache(root: Path) -> Path:
    """The folder of the cache, by DVC's configuration of the project."""
    config = configparser.ConfigParser()
    config.read([root / ".dvc/config", root / ".dvc/config.local"])
    return (root / ".dvc" / config.get("cache", "dir", fallback="cache")).resolve()


def _verified(path: Path) -> dict[str, list[int]]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _mark(path: Path) -> list[int]:
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns]


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def main() -> None:
    """Mend, and say what was mended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deep", action="store_true", help="read every object of the cache, however it looks")
    options = parser.parse_args()
    try:
        said = repair(Path.cwd(), deep=options.deep)
    except (InputError, OSError) as error:
        sys.stderr.write(f"error: {one_line(error)}\n")
        sys.exit(status_of(error))
    sys.stdout.writelines(f"guard: {sentence}\n" for sentence in said)


if __name__ == "__main__":
    main()
