"""C libraries of this package, all optional: without a compiler it installs all the same, and others do the work."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse


def load(
    source: Path, functions: Mapping[str, tuple[Any, ...]], *, gives: Any = None, includes: tuple[str, ...] = ()
) -> ctypes.CDLL | None:
    """The library that setup.py built from ``source``; one built from another text counts as none.

    It lies beside ``source``, or beside the same file where the package is installed from: experiments run in a copy of
    the project without what git ignores.

    Args:
        source: the C file, which an installed package may lack.
        functions: name -> types of the arguments.
        gives: the type of what all of them return.
        includes: names of the files beside it that it includes.

    Returns:
        The library; None where there is none, or ``CEA_COMPILED=0`` is in the environment.
    """
    if os.environ.get("CEA_COMPILED") == "0":
        return None
    for built in _candidates(source):
        try:
            library = ctypes.CDLL(str(built))
        except OSError:  # built for another processor or C library
            continue
        if not hasattr(library, "source_sha256"):  # another library of that name
            continue
        library.source_sha256.restype = ctypes.c_char_p
        texts = [source, *map(source.with_name, includes)]
        if source.is_file() and library.source_sha256() != _digest(texts):
            continue
        for name, arguments in functions.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, gives
        return library
    return None


def _candidates(source: Path) -> Iterator[Path]:
    """Libraries that may have been built from ``source``."""
    folders = [source.parent]
    if source.is_relative_to(_ROOT):
        folders.append(_installed_from() / source.parent.relative_to(_ROOT))
    for built in (folder / (source.stem + suffix) for folder in folders for suffix in EXTENSION_SUFFIXES):
        if built.is_file():
            yield built


_ROOT = Path(__file__).parents[1]


def _installed_from() -> Path:
    """The project that an editable installation points to; this one where there is none."""
    from importlib import metadata

    try:
        origin = json.loads(metadata.distribution("cea").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return _ROOT
    return Path(unquote(urlparse(origin["url"]).path)) if origin.get("dir_info", {}).get("editable") else _ROOT


def _digest(texts: list[Path]) -> bytes:
    return sha256(b"".join(text.read_bytes() for text in texts if text.is_file())).hexdigest().encode()
