"""The pixel loops of ``kernels.c``, where a C compiler was at hand when the package was installed.

They do in one pass what a dozen NumPy and OpenCV calls do, and give the same bits (tests run both). Without them, with
arrays that they do not take, or with ``CEA_COMPILED=0`` in the environment, those calls do the work.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import c_double, c_float, c_int, c_int32, c_size_t, c_ssize_t, c_uint32, c_uint64, c_void_p
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cea.compiled import load

SOURCE = Path(__file__).with_name("kernels.c")

_ARGUMENTS = {
    "random_bits": (c_uint64, c_size_t, c_size_t, c_void_p),
    "normal_numbers": (c_uint64, c_size_t, c_void_p, c_void_p),
    "add_noise": (c_void_p, c_void_p, c_float, c_int, c_uint64, c_size_t, c_void_p, c_void_p),
    "to_planes": (c_void_p, c_size_t, c_float, c_void_p),
    "quantise": (c_void_p, c_size_t, c_void_p),
    "lookup": (c_void_p, c_size_t, c_void_p, c_float, c_size_t, c_void_p),
    "exponentials": (c_void_p, c_size_t, c_void_p),
    "pass": (c_void_p,),
    "light": (c_void_p, c_float, c_void_p, c_size_t, c_size_t, c_size_t, c_size_t, c_void_p),
    "enlarged": (c_void_p, c_size_t, c_size_t, c_float, c_float, c_size_t, c_size_t, c_void_p),
    "ground": (c_void_p, c_void_p, c_double, c_void_p, c_float, c_float, c_size_t, c_size_t, c_void_p),
    "box_mean": (c_void_p, c_size_t, c_size_t, c_size_t, c_void_p, c_void_p),
    "self_guided": (c_void_p, c_void_p, c_float, c_size_t),
    "quartered": (c_void_p, c_float, c_size_t, c_size_t, c_void_p),
    "specks": (c_uint64, c_uint64, c_uint32, c_size_t, c_void_p),
    "narrow_streaks": (c_void_p,),
    "wide_streaks": (c_void_p,),
    "plus_moved_16": (c_void_p, c_void_p, c_ssize_t, c_ssize_t, c_ssize_t, c_ssize_t, c_void_p),
    "plus_moved_32": (c_void_p, c_void_p, c_ssize_t, c_ssize_t, c_ssize_t, c_ssize_t, c_void_p),
}


class Step(ctypes.Structure):
    """What happens to each pixel; the same fields as in ``kernels.c``."""

    _fields_ = (
        *((name, c_int32) for name in ("kind", "again", "halved", "clip")),
        ("stream", c_uint64),
        *((name, c_void_p) for name in ("strength", "map", "factor", "table", "severity")),
        *((name, c_float) for name in ("amount", "scale", "last")),
        ("rgb", c_float * 3),
    )


class Streaks(ctypes.Structure):
    """One depth of rain; the same fields as in ``kernels.c``."""

    _fields_ = (
        *((name, c_uint64) for name in ("where", "brightness")),
        *((name, c_void_p) for name in ("moves", "room", "total")),
        *((name, c_size_t) for name in ("count", "height", "width", "ring", "skip", "margin", "rows", "columns")),
        ("threshold", c_uint32),
        ("bright", c_float),
    )


class Pass(ctypes.Structure):
    """What ``pass`` reads and writes; the same fields as in ``kernels.c``."""

    _fields_ = (
        *((name, c_void_p) for name in ("pixels", "planes", "normal", "levels", "out", "steps")),
        *((name, c_size_t) for name in ("height", "width", "strip", "count")),
        ("level", c_float),
    )


def library(source: Path) -> ctypes.CDLL | None:
    """What was built from ``source`` and lies beside it, or None."""
    return load(source, _ARGUMENTS)


LIBRARY = library(SOURCE)
"""The compiled loops, or None."""


def takes(*floats: NDArray[Any] | None) -> bool:
    """Whether there are compiled loops, and they take these arrays.

    Args:
        floats: (H, W) and (H, W, 3) arrays, which have to be float32, the images planar in memory; None is let through.
    """
    return LIBRARY is not None and all(values is None or _is_plain(values) for values in floats)


def _is_plain(values: NDArray[Any]) -> bool:
    planes = values.transpose(2, 0, 1) if values.ndim == 3 else values
    return values.dtype == np.float32 and planes.flags.c_contiguous


def call(name: str, *arguments: Any) -> None:
    """Call a function of ``kernels.c``; arrays are handed over by address, None as NULL."""
    getattr(LIBRARY, name)(*map(_passed, arguments))


def box_mean(values: NDArray[Any], side: int) -> NDArray[np.float32] | None:
    """OpenCV's box mean, (H, W) float32, borders mirrored (101); None where the order of its sums counts."""
    if values.ndim != 2 or not takes(values):
        return None
    mean, done = np.empty_like(values), c_int32()
    call("box_mean", values, side, *values.shape, mean, ctypes.byref(done))
    return mean if done.value else None


def run_pass(steps: Sequence[Mapping[str, Any]], **fields: Any) -> None:
    """Call ``pass`` of ``kernels.c``; steps and fields are those of its structs, arrays handed over by address."""
    all_steps = (Step * len(steps))(*(Step(**_addresses(step)) for step in steps))
    call("pass", ctypes.byref(Pass(steps=ctypes.addressof(all_steps), count=len(steps), **_addresses(fields))))


def add_streaks(name: str, moves: Sequence[tuple[int, int, int, int]], **fields: Any) -> None:
    """Call ``narrow_streaks`` or ``wide_streaks`` of ``kernels.c`` with the fields of their struct.

    Moves are base, moving, down, right, as in the struct of that name.
    """
    all_moves = (c_int32 * (4 * len(moves)))(*chain.from_iterable(moves))
    streaks = Streaks(moves=ctypes.addressof(all_moves), count=len(moves), **_addresses(fields))
    call(name, ctypes.byref(streaks))


def _addresses(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _passed(value) for name, value in fields.items()}


def _passed(argument: Any) -> Any:
    return argument.__array_interface__["data"][0] if isinstance(argument, np.ndarray) else argument


def planar(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An (H, W, 3) image for any ``shape`` that begins with H and W, planar in memory, to be filled; float32."""
    return np.empty((3, *shape[:2]), np.float32).transpose(1, 2, 0)
