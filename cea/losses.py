"""Training losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def at_least_single(values: Tensor) -> Tensor:
    """In float32, but float64 as it is: losses are not computed in half precision."""
    return values if values.dtype == torch.float64 else values.float()


class RestorationLoss(nn.Module):
    """L1 over pixels plus ``fft_weight`` times L1 over the real and imaginary parts of the 2-D spectrum.

    The spectrum is orthonormal, so the weight means the same at every patch size: at 1, white errors count as much in
    both terms. (MoCE-IR and later use weight 0.1 on an unnormalised spectrum.)

    Args:
        fft_weight: >= 0; 0 leaves the second term out.
        balance: in [0, 1]; each image counts as much as its input's error to the power of minus this, see
            `balance_weights`; 0 lets all count alike.
    """

    def __init__(self, fft_weight: float = 0.0, balance: float = 0.0) -> None:
        super().__init__()
        self.fft_weight = fft_weight
        self.balance = balance

    def forward(self, restored: Tensor, clean: Tensor, degraded: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) each, in [0, 1], to a scalar in float32 (float64 where these are); balancing needs
        ``degraded``."""
        difference = at_least_single(restored) - at_least_single(clean)
        if self.balance:
            assert degraded is not None
            difference = difference * balance_weights(degraded, clean, self.balance)
        loss = difference.abs().mean()
        if self.fft_weight:
            loss = loss + self.fft_weight * spectral_l1(difference)
        return loss


_SMALLEST_ERROR = 1 / 64
_AROUND = 9


def log_error_l1(log_error: Tensor, degraded: Tensor, clean: Tensor, unit: float) -> Tensor:
    """Mean absolute error of a predicted logarithm of the input's local error.

    The truth is log(e / unit + 1 / 64), e the mean absolute error of the input over 9 x 9 cells of the prediction.

    Args:
        log_error: (B, 1, h, w).
        degraded, clean: (B, 3, H, W) in [0, 1].
        unit: an error, full scale 1.
    """
    height, width = log_error.shape[-2:]
    around = local_error(degraded, clean, (height, width))
    return (at_least_single(log_error) - (around / unit + _SMALLEST_ERROR).log()).abs().mean()


def local_error(degraded: Tensor, clean: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean absolute error over 9 x 9 cells, of which an image has ``size`` rows and columns.

    Args:
        degraded, clean: (B, 3, H, W) in [0, 1].
        size: h and w.

    Returns:
        (B, 1, h, w) float32, full scale 1.
    """
    error = (at_least_single(degraded) - at_least_single(clean)).abs().mean(dim=1, keepdim=True)
    cells = nn.functional.adaptive_avg_pool2d(error, size)
    return nn.functional.avg_pool2d(cells, _AROUND, 1, _AROUND // 2, count_include_pad=False)


def severity_loss(logits: Tensor, recorded: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy between predicted and recorded severities, as of two coins that fall on one side so often.

    Its minimum is the mean of what was recorded at places that look alike, so that a prediction of .3 means .3 on
    average; the absolute error would be least at the median, which is 0 for anything sparse.

    Args:
        logits: (B, K, h, w), of the predictions.
        recorded: (B, K, h, w) in [0, 1].
        known: (B, K, h, w) in [0, 1], how much of a cell has a known label; 0 leaves the cell out.

    Returns:
        The mean over all cells, those of unknown label counting 0: so the parts of a batch add up to the whole.
    """
    logits = at_least_single(logits)
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, recorded.to(logits.dtype), reduction="none")
    return (entropy * known).mean()


_FLOOR, _TYPICAL = 0.01, 0.1
"""Mean absolute errors of an input (full scale 1): below the first all count alike, the second has weight one."""


def balance_weights(degraded: Tensor, clean: Tensor, balance: float) -> Tensor:
    """Weights (B, 1, 1, 1) of images: ((e + .01) / .11)^-balance, e the mean absolute error of the input.

    With 1, what counts is the share of the input's error that is left, so a nearly clean image has as much to say as a
    dark one; with 0 only the absolute error does.
    """
    error = (at_least_single(degraded) - at_least_single(clean)).abs().mean(dim=(1, 2, 3), keepdim=True)
    return ((error + _FLOOR) / (_TYPICAL + _FLOOR)).pow(-balance)


def spectral_l1(difference: Tensor) -> Tensor:
    """Mean absolute real and imaginary part of the orthonormal ``rfft2`` of (..., H, W)."""
    return torch.view_as_real(torch.fft.rfft2(difference, norm="ortho")).abs().mean()
