"""JSON and YAML that a stage, DVC or a person wrote: read whole, or one error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from cea.errors import foreign


def read_json(path: Path, *, expected: str, remedy: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        DataError: no such file, not JSON, or no object; on one line, which names ``expected`` and ``remedy``.
    """
    with foreign(path, expected=expected, remedy=remedy):
        return _mapping(json.loads(path.read_text(encoding="utf-8")))


def read_yaml(path: Path, *, expected: str, remedy: str) -> dict[str, Any]:
    """The mapping in a file of YAML 1.2, the dialect that DVC writes; an empty file is an empty one.

    Raises:
        DataError: as `read_json`.
    """
    with foreign(path, expected=expected, remedy=remedy):
        value = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        return _mapping({} if value is None else value)


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("holds no names with values")
    return value
