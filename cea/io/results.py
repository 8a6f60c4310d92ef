"""What the results in a folder were made with, so that a resumed run never keeps what other settings made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cea.errors import DataError
from cea.io.faults import explained, shown

RECORD = ".cea-results.jsonl"
"""A line for each result: its name, its photograph with size and time, its settings. Hidden: no walk reads it."""

Settings = Mapping[str, str | int | float | bool | None]


class Results:
    """The record of a folder of results.

    Lines are appended as results come, and the last one of a result counts; a line that a kill cut short, or that is
    damaged, counts as none.

    Args:
        folder: of the results; need not exist.
        settings: what results are made with now, plain values by name.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder, self._settings = folder, dict(settings)
        self._made: dict[str, dict[str, Any]] = {}
        path = folder / RECORD
        with explained(path):
            for line in path.read_bytes().splitlines() if path.is_file() else ():
                self._read(line)

    def is_kept(self, source: Path, target: Path) -> bool:
        """Whether ``target`` is there, and was made from ``source`` as it is now, with these settings.

        Raises:
            DataError: it was made with other settings or from another photograph, or nothing says how.
        """
        made = self._made.get(self._name(target))
        if made is None:
            raise self._other(target, "and nothing says how it was made")
        if made["settings"] != self._settings:
            raise self._other(target, f"made with {self._differences(made['settings'])}")
        now = _facts(source)
        is_same = all(made[name] == now[name] for name in ("size", "mtime_ns"))
        if not is_same and made["source"] != now["source"]:
            raise self._other(target, f"made from {made['source']}, not from {shown(source)}")
        return is_same

    def add(self, source: Path, target: Path) -> None:
        """Note that ``target`` was made from ``source``."""
        line = {"result": self._name(target), **_facts(source), "settings": self._settings}
        path = self._folder / RECORD
        with explained(path), path.open("ab+") as file:
            file.seek(0, 2)
            if file.tell():
                file.seek(-1, 2)
                file.write(b"" if file.read(1) == b"\n" else b"\n")
            file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")

    def _read(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
            self._made[entry["result"]] = {name: entry[name] for name in ("source", "size", "mtime_ns", "settings")}
        except (ValueError, KeyError, TypeError, RecursionError):
            return

    def _name(self, target: Path) -> str:
        return shown(target.relative_to(self._folder))

    def _differences(self, then: Any) -> str:
        then = then if isinstance(then, dict) else {}
        names = [name for name in {**then, **self._settings} if then.get(name) != self._settings.get(name)]
        return ", ".join(f"{name} {_short(then.get(name))} (now {_short(self._settings.get(name))})" for name in names)

    def _other(self, target: Path, how: str) -> DataError:
        return DataError(
            f"{shown(target)} is there already, {how}",
            expected="a folder with results of the same settings, or none",
            remedy="use another folder, or --overwrite to make them again",
        )


def _facts(source: Path) -> dict[str, Any]:
    stat = source.stat()
    return {"source": shown(source.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _short(value: object) -> str:
    """A digest by its beginning."""
    text = "none" if value is None else str(value)
    return text[:12] if len(text) == 64 else text
