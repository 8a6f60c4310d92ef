"""The moving average of the weights, bit for bit that of Lightning and PyTorch."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, WeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torch.utils.data import DataLoader

from cea.models.config import ModelConfig
from cea.models.network import build
from cea.training.averaging import MovingAverage, average, tensors


class Counting(nn.Module):
    """A buffer of real numbers and one of whole ones."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)


class Slow(LightningModule):
    """A layer that learns to give nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).square().sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def averaged(callback: WeightAveraging, folder: Path, steps: int, resumed: Path | None = None) -> list[torch.Tensor]:
    """The average after so many steps of two batches each, from the start or from a checkpoint."""
    torch.manual_seed(3)
    module, batches = Slow(), torch.randn(40, 1, 2)
    trainer = Trainer(
        max_steps=steps,
        accumulate_grad_batches=2,
        callbacks=[callback],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        accelerator="cpu",
        default_root_dir=folder,
        plugins=[LightningEnvironment()],  # where Slurm is installed, Lightning warns of it
    )
    trainer.fit(module, DataLoader(batches, batch_size=None), ckpt_path=resumed, weights_only=bool(resumed) or None)
    trainer.save_checkpoint(folder / "a.ckpt")
    assert callback._average_model is not None
    return [tensor.clone() for tensor in tensors(callback._average_model.module)]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:You're resuming")
def test_the_callback_is_lightnings_also_with_parts_of_batches_and_after_a_pause(tmp_path: Path) -> None:
    ends = []
    for kind in (EMAWeightAveraging, MovingAverage):
        whole = averaged(kind(decay=0.8), tmp_path, 12)
        averaged(kind(decay=0.8), tmp_path, 5)
        (tmp_path / "a.ckpt").rename(tmp_path / "pause.ckpt")
        ends.append([whole, averaged(kind(decay=0.8), tmp_path, 12, tmp_path / "pause.ckpt")])
    for theirs, ours in zip(*ends, strict=True):
        assert all(torch.equal(*pair) for pair in zip(theirs, ours, strict=True))


@pytest.mark.parametrize("module", [build(ModelConfig(width=8, rank=2)), Counting()])
def test_the_same_bits_as_one_by_one(module: nn.Module) -> None:
    torch.manual_seed(1)
    theirs = AveragedModel(module, avg_fn=get_ema_avg_fn(0.9), use_buffers=True)
    ours = copy.deepcopy(module)
    for step in range(5):
        for tensor in tensors(module):
            tensor.data = tensor + (1 if tensor.dtype == torch.long else torch.randn(tensor.shape))
        theirs.update_parameters(module)
        average(tensors(ours), tensors(module), 0.9 if step else 0.0)
    for one, other in zip(tensors(ours), tensors(theirs.module), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(tensors(ours)[0], tensors(module)[0])
