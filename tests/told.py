"""A made-up network whose estimates are known: it reads them off the channels of its input."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cea.models.network import ERROR_UNIT, Judged, pad_to_multiple

CELL = 2


class Told(nn.Module):
    """Severities are the means of red and green over cells, the expected error a tenth of the mean of blue.

    Args:
        names: of the first channels; none: no severity head.
        gated: whether errors are expected.
    """

    size_multiple = 2 * CELL

    def __init__(self, names: tuple[str, ...] = ("haze", "rain"), *, gated: bool = True) -> None:
        super().__init__()
        self.config = SimpleNamespace(severity=names)
        self.log_error = nn.Identity() if gated else None
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        return self.judged(image).restored

    def judged(self, image: Tensor) -> Judged:
        """Half as bright, and the maps."""
        cells = F.avg_pool2d(pad_to_multiple(image, self.size_multiple), CELL)
        count = len(self.config.severity)
        error = (cells[:, 2:] / 10 / ERROR_UNIT).clamp_min(1e-6).log()
        severity = cells[:, :count].clamp(1e-6, 1 - 1e-6).logit()
        return Judged(image / 2, error if self.log_error else None, severity if count else None)
