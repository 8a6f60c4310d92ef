"""The formula of the peak signal-to-noise ratio, for every room: one image, a batch on its device, a draw."""

from __future__ import annotations

import math
from typing import Any, Protocol, TypeVar, overload


class Logarithmic(Protocol):
    """As much of a tensor as the formula needs: this room knows no library of tensors."""

    def log10(self) -> Any:
        """The logarithm of each element to base 10."""


_Tensor = TypeVar("_Tensor", bound=Logarithmic)


@overload
def psnr_of(error: float) -> float: ...
@overload
def psnr_of(error: _Tensor) -> _Tensor: ...
def psnr_of(error: Any) -> Any:
    """PSNR in dB, 10 log10(peak^2 / MSE), of mean squared errors in units of full scale squared (peak = 1).

    Args:
        error: a number, or a tensor of any shape, >= 0.

    Returns:
        As ``error``: a float, or a tensor on the same device. Infinite where the error is 0.
    """
    if isinstance(error, float | int):
        return math.inf if error == 0 else -10 * math.log10(error)
    return -10 * error.log10()
