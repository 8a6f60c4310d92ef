"""Training losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RestorationLoss(nn.Module):
    """L1 over pixels plus ``fft_weight`` times L1 over the real and imaginary parts of the 2-D spectrum.

    The spectrum is orthonormal, so the weight means the same at every patch size: at 1, white errors count as much in
    both terms. (MoCE-IR and later use weight 0.1 on an unnormalised spectrum.)

    Args:
        fft_weight: >= 0; 0 leaves the second term out.
    """

    def __init__(self, fft_weight: float = 0.0) -> None:
        super().__init__()
        self.fft_weight = fft_weight

    def forward(self, restored: Tensor, clean: Tensor) -> Tensor:
        """(B, 3, H, W) each, in [0, 1], to a scalar; computed in float32."""
        difference = restored.float() - clean.float()
        loss = difference.abs().mean()
        if self.fft_weight:
            loss = loss + self.fft_weight * spectral_l1(difference)
        return loss


def spectral_l1(difference: Tensor) -> Tensor:
    """Mean absolute real and imaginary part of the orthonormal ``rfft2`` of (..., H, W)."""
    return torch.view_as_real(torch.fft.rfft2(difference, norm="ortho")).abs().mean()
