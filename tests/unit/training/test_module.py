"""The LightningModule's own arithmetic."""

from __future__ import annotations

import copy

import pytest
import torch
from torch._dynamo.utils import counters

from cea.config import parse
from cea.errors import ConfigError
from cea.models.config import ModelConfig
from cea.models.network import build
from cea.models.tensors import unit_batch
from cea.training import module as training_module
from cea.training.config import TrainConfig
from cea.training.module import RestorationModule, psnr


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
    assert unit_batch(images).flatten().tolist() == pytest.approx([0, 0.2, 1])
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


def test_the_optimizer_is_a_choice(module: RestorationModule) -> None:
    for choice, count in (("muon", 3), ("adamw", 2)):
        module.config = TrainConfig(weight_decay=0.1, optimizer=choice)
        groups = module.configure_optimizers()["optimizer"].param_groups
        assert [group["weight_decay"] for group in groups] == [0.1] * (count - 1) + [0]
        assert [group["initial_lr"] for group in groups] == [module.config.muon_lr, module.config.lr, module.config.lr][
            -count:
        ]


def test_clipping_keeps_the_norm_it_clipped(module: RestorationModule) -> None:
    for parameter in module.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    count = sum(parameter.numel() for parameter in module.network.parameters())
    module.configure_gradient_clipping(module.configure_optimizers()["optimizer"])
    assert module.grad_norm.item() == pytest.approx(count**0.5, rel=1e-5)
    clipped = torch.sqrt(sum(parameter.grad.square().sum() for parameter in module.network.parameters()))
    assert clipped.item() == pytest.approx(1.0, rel=1e-4)


@pytest.mark.slow
def test_a_compiled_step_is_one_graph_and_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_module, "COMPILER", "aot_eager")  # the tracing is what is tested: no C compiler needed
    plain, compiled = (
        RestorationModule(build(ModelConfig(width=8, rank=2)), TrainConfig(compile=compile))
        for compile in (False, True)
    )
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    batches = torch.randint(0, 256, (3, 2, 2, 3, 16, 16), dtype=torch.uint8)
    torch._dynamo.reset()
    counters.clear()
    for degraded, clean in batches:
        losses = [module.training_step((degraded, clean), 0) for module in (plain, compiled)]
        torch.testing.assert_close(losses[0], losses[1])
        for loss in losses:
            loss.backward()
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    seen = counters["stats"]["calls_captured"]
    compiled.on_validation_epoch_start()
    compiled.recipes, compiled.gains = ("dark",), {"dark": []}
    compiled.eval().validation_step((*torch.randint(0, 256, (2, 1, 3, 24, 40), dtype=torch.uint8), 0), 0)
    assert counters["stats"]["calls_captured"] == seen  # validation is not compiled
    copy.deepcopy(compiled)  # as the averaging of weights does


def test_parts_have_to_be_equal() -> None:
    with pytest.raises(ConfigError, match="accumulate to divide batch = 8"):
        parse(TrainConfig, {"batch": 8, "accumulate": 3}, "train")
