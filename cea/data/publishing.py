"""Folders of shards in a store: tars first, the index last, and nothing that is there already is sent again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cea.data.cluster import of_store
from cea.data.places import Shared, Store, facts_name
from cea.io.images import file_sha256

LEFT_OUT = "left_out.json"
"""Beside the index, where samples were left out: their ids, clean images, and why."""

_LISTED = ("index.json", LEFT_OUT, "index.parquet")
"""What makes a reader believe that shards are there, the summary first of all."""


def store_of(url: str | None, folder: Path) -> Store | None:
    """The place of ``folder`` (``.../<split>/<recipe>``) below ``url``."""
    return Store(f"{url.rstrip('/')}/{folder.parent.name}/{folder.name}") if url else None


def begin(store: Store) -> None:
    """Take the index of earlier shards away, before the first tar is replaced."""
    store.remove(*_LISTED)


def fetch(store: Store, folder: Path, tars: Mapping[str, tuple[int, str]]) -> None:
    """Copy ``tars`` (name -> bytes and SHA-256) into ``folder``, but for those that are there."""
    shared = Shared(folder)
    for name, (size, sha256) in tars.items():
        if not shared.holds(name, size, sha256):
            with shared.writing(name) as path:
                store.download(name, path)
                if file_sha256(path) != sha256:
                    raise OSError(f"{store.url}/{name}: other bytes than its worker put there")


def publish(folder: Path, store: Store) -> None:
    """Copy a whole folder of shards: tars, but for those that are there; then the index, its summary last of all.

    Raises:
        DataError: the store does not answer; what has been sent is kept for the next time.
    """
    with of_store():
        tars = json.loads((folder / "index.json").read_text(encoding="utf-8"))["tars"]
        if not _is_there(folder, store, tars):
            begin(store)
            _send(folder, store, tars)
            for name in reversed(_LISTED):
                if (folder / name).exists():
                    store.write(name, (folder / name).read_bytes())
        store.remove(*(name for name in store.names() if name not in tars and name not in _LISTED))


def _is_there(folder: Path, store: Store, tars: Mapping[str, Mapping[str, int]]) -> bool:
    listed = [name for name in _LISTED if (folder / name).exists()]
    return all(store.read(name) == (folder / name).read_bytes() for name in listed) and all(
        store.holds(name, facts["bytes"], "") for name, facts in tars.items()
    )


def _send(folder: Path, store: Store, tars: Iterable[str]) -> None:
    for name in tars:
        facts = _facts(folder / name)
        told = json.loads(store.read(facts_name(name)) or b"{}")
        if {key: told.get(key) for key in facts} != facts or not store.holds(name, facts["size"], facts["sha256"]):
            store.upload(folder / name, name)
            store.write(facts_name(name), json.dumps(facts).encode())


def _facts(tar: Path) -> dict[str, Any]:
    return {"size": tar.stat().st_size, "sha256": file_sha256(tar)}
