"""A step of Muon for many matrices by the compiled library: `cea.training.optimizer`, one matrix at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from ctypes import c_float, c_size_t, c_void_p
from typing import NamedTuple

import torch
from torch import Tensor

from cea.models.fused import compiled


class _Matrix(ctypes.Structure):
    """The struct of this name in ``kernels.c``."""

    _fields_ = (
        *((name, c_void_p) for name in ("parameter", "momentum", "gradient")),
        *((name, c_size_t) for name in ("rows", "columns", "iterations")),
        *((name, c_float) for name in ("decay", "keep", "length", "least_norm")),
        ("quintic", c_float * 3),
    )


class Update(NamedTuple):
    """What one matrix goes through.

    Attributes:
        parameter, momentum, gradient: float32 of one shape and layout, rows first in memory; the first two change.
        keep, length: parameter = keep * parameter - length * direction.
    """

    parameter: Tensor
    momentum: Tensor
    gradient: Tensor
    keep: float
    length: float


def takes(parameters: Iterable[Tensor]) -> bool:
    """Whether there is a compiled step, and it takes these: single precision, on the CPU, rows first in memory."""
    return compiled.LIBRARY is not None and all(
        parameter.device.type == "cpu"
        and parameter.dtype == torch.float32
        and parameter.stride(0) * parameter.shape[0] == parameter.numel()
        for parameter in parameters
    )


def muon_step(
    updates: Sequence[Update],
    *,
    decay: float,
    iterations: int,
    quintic: tuple[float, float, float],
    least_norm: float,
) -> None:
    """Move each momentum towards the gradient, and each parameter along the momentum made orthogonal.

    Args:
        updates: one for each matrix.
        decay: of the momentum.
        iterations, quintic: of Newton and Schulz.
        least_norm: what a smaller norm counts as.
    """
    array = (_Matrix * len(updates))()
    for place, update in zip(array, updates, strict=True):
        rows = update.parameter.shape[0]
        place.parameter, place.momentum = update.parameter.data_ptr(), update.momentum.data_ptr()
        place.gradient = update.gradient.data_ptr()
        place.rows, place.columns, place.iterations = rows, update.parameter.numel() // rows, iterations
        place.decay, place.keep, place.length = decay, update.keep, update.length
        place.least_norm, place.quintic = least_norm, (c_float * 3)(*quintic)
    compiled.run("muon_step", ctypes.byref(array), len(updates))
