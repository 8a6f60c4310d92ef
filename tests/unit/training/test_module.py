"""The LightningModule's own arithmetic."""

from __future__ import annotations

import pytest
import torch

from cea.models.config import ModelConfig
from cea.models.network import build
from cea.training.config import TrainConfig
from cea.training.module import RestorationModule, as_unit, psnr


@pytest.fixture
def module() -> RestorationModule:
    config = TrainConfig(weight_decay=0.1, fft_weight=0)
    return RestorationModule(build(ModelConfig(width=8, rank=2)), config, ("dark", "noise"))


def test_psnr_by_hand() -> None:
    clean = torch.full((3, 3, 2, 2), 0.5)
    restored = clean.clone()
    restored[0] += 0.1  # mean squared error .01
    restored[1, 0] += 0.1  # a third of it
    assert psnr(restored, clean).tolist() == pytest.approx([20.0, 24.771, 100.0], abs=1e-3)


def test_unit_range() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert as_unit(images).flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert images.flatten().tolist() == [0, 51, 255]


def test_training_step_is_the_loss_of_the_restoration(module: RestorationModule) -> None:
    degraded, clean = torch.randint(0, 256, (2, 1, 3, 8, 8), dtype=torch.uint8)
    expected = (degraded.float() - clean.float()).abs().mean() / 255  # the untrained network returns its input
    assert module.training_step((degraded, clean), 0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_validation_notes_gains_by_recipe(module: RestorationModule) -> None:
    degraded, clean = torch.randint(0, 256, (2, 2, 3, 8, 8), dtype=torch.uint8)
    module.on_validation_epoch_start()
    module.validation_step((degraded, clean, 1), 0)
    assert module.gains["dark"] == []
    assert module.gains["noise"] == pytest.approx([0, 0], abs=1e-4)
    module.on_validation_epoch_start()
    assert module.gains["noise"] == []


def test_only_matrices_and_kernels_decay(module: RestorationModule) -> None:
    optimizer = module.configure_optimizers()["optimizer"]
    decayed, free = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0
    assert all(parameter.ndim == 1 for parameter in free["params"])
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(module.network.parameters()))


def test_clipping_keeps_the_norm_it_clipped(module: RestorationModule) -> None:
    for parameter in module.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    count = sum(parameter.numel() for parameter in module.network.parameters())
    module.configure_gradient_clipping(module.configure_optimizers()["optimizer"])
    assert module.grad_norm.item() == pytest.approx(count**0.5, rel=1e-5)
    clipped = torch.sqrt(sum(parameter.grad.square().sum() for parameter in module.network.parameters()))
    assert clipped.item() == pytest.approx(1.0, rel=1e-4)
