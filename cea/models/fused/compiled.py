"""The library that ``kernels.c`` becomes where a C compiler was at hand when the package was installed."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_size_t, c_void_p
from pathlib import Path
from typing import Any

from cea.compiled import load

SOURCE = Path(__file__).with_name("kernels.c")


def library(source: Path) -> ctypes.CDLL | None:
    """What was built from ``source`` and lies beside it, or None."""
    functions = {"block_forward": (c_void_p,), "block_backward": (c_void_p,), "muon_step": (c_void_p, c_size_t)}
    return load(source, functions, gives=c_int, includes=("block.h",))


LIBRARY = library(SOURCE)
"""The compiled operators, or None."""


def run(function: str, *arguments: Any) -> None:
    """Call one of them; Python's lock is free meanwhile.

    Raises:
        MemoryError: none was left for what it needs on the way.
    """
    if getattr(LIBRARY, function)(*arguments):
        raise MemoryError
