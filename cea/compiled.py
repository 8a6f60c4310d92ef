"""C libraries of this package, all optional: without a compiler it installs all the same, and others do the work."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any


def load(
    source: Path, functions: Mapping[str, tuple[Any, ...]], *, gives: Any = None, includes: tuple[str, ...] = ()
) -> ctypes.CDLL | None:
    """The library that setup.py built from ``source`` and put beside it; one built from another text counts as none.

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
    for suffix in EXTENSION_SUFFIXES:
        built = source.with_name(source.stem + suffix)
        if not built.is_file():
            continue
        try:
            library = ctypes.CDLL(str(built))
        except OSError:  # built for another processor or C library
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


def _digest(texts: list[Path]) -> bytes:
    return sha256(b"".join(text.read_bytes() for text in texts)).hexdigest().encode()
