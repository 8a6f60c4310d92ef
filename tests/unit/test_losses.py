"""Loss values by hand."""

from __future__ import annotations

import math

import pytest
import torch

from cea.losses import RestorationLoss, balance_weights, log_error_l1, spectral_l1


def test_l1_by_hand() -> None:
    restored = torch.tensor([0.5, 0.25, 1.0, 0.0]).reshape(1, 1, 2, 2)
    clean = torch.tensor([0.0, 0.50, 1.0, 0.25]).reshape(1, 1, 2, 2)
    assert RestorationLoss()(restored, clean).item() == pytest.approx((0.5 + 0.25 + 0 + 0.25) / 4)


def test_spectrum_by_hand() -> None:
    """Of a constant 2 x 2 map of c only the mean survives: c * 2 at one of the 2 x 2 complex bins, 8 real numbers."""
    assert spectral_l1(torch.full((1, 1, 2, 2), 0.3)).item() == pytest.approx(0.6 / 8)


def test_sum_of_the_terms() -> None:
    draw = torch.Generator().manual_seed(0)
    restored, clean = torch.rand((2, 2, 3, 8, 8), generator=draw)
    pixels, both = RestorationLoss()(restored, clean), RestorationLoss(0.5)(restored, clean)
    assert both.item() == pytest.approx((pixels + 0.5 * spectral_l1(restored - clean)).item())


@pytest.mark.parametrize("size", [32, 128])
def test_weight_means_the_same_at_every_patch_size(size: int) -> None:
    """White errors: |N(0, s)| has mean s sqrt(2/pi); real and imaginary parts have s / sqrt 2 each."""
    error = torch.randn((4, 3, size, size), generator=torch.Generator().manual_seed(0))
    assert spectral_l1(error).item() == pytest.approx(math.sqrt(1 / math.pi), rel=0.02)


def test_low_precision_input_is_judged_in_float32() -> None:
    restored, clean = torch.full((1, 3, 4, 4), 0.5).bfloat16(), torch.zeros(1, 3, 4, 4)
    loss = RestorationLoss(0.1)(restored, clean)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_balance_weighs_an_image_by_its_input_error():
    """Mean absolute errors of .1, 0 and .49: weights 1, (11)^1/2 and (.22)^1/2."""
    clean = torch.zeros(3, 3, 4, 4)
    degraded = clean + torch.tensor([0.1, 0.0, 0.49]).reshape(3, 1, 1, 1)
    weights = balance_weights(degraded, clean, 0.5).flatten()
    assert weights.tolist() == pytest.approx([1.0, 11**0.5, (0.11 / 0.5) ** 0.5], rel=1e-5)
    restored = clean + torch.tensor([0.01, 0.02, 0.03]).reshape(3, 1, 1, 1)
    expected = sum(w * e for w, e in zip(weights.tolist(), (0.01, 0.02, 0.03), strict=True)) / 3
    assert RestorationLoss(balance=0.5)(restored, clean, degraded).item() == pytest.approx(expected, rel=1e-5)
    plain = RestorationLoss()(restored, clean, degraded).item()
    assert RestorationLoss(balance=0)(restored, clean).item() == plain


def test_predicted_error_by_hand() -> None:
    """Evenly wrong by .1 in one image, sound in the other; the prediction says .1 of both, or of each the truth."""
    clean = torch.full((2, 3, 32, 32), 0.5)
    degraded = clean + torch.tensor([0.1, 0.0]).reshape(2, 1, 1, 1)
    unit = 0.1
    truth = torch.tensor([math.log(1 + 1 / 64), math.log(1 / 64)]).reshape(2, 1, 1, 1).expand(2, 1, 16, 16)
    assert log_error_l1(truth, degraded, clean, unit).item() == pytest.approx(0, abs=1e-5)
    wrong = torch.zeros(2, 1, 16, 16)
    assert log_error_l1(wrong, degraded, clean, unit).item() == pytest.approx(truth.abs().mean().item(), rel=1e-5)


def test_predicted_error_is_local() -> None:
    """One half of the image is wrong: far from the border each half has a truth of its own."""
    clean = torch.zeros(1, 3, 64, 64)
    degraded = clean.clone()
    degraded[..., :32] = 0.2
    truth = torch.full((1, 1, 32, 32), math.log(1 / 64))
    truth[..., :16] = math.log(2 + 1 / 64)
    rows = torch.tensor([0.0]).expand(1, 1, 32, 32)
    assert log_error_l1(truth, degraded, clean, 0.1) < 0.3 * log_error_l1(rows, degraded, clean, 0.1)
