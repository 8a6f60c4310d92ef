"""The averaged weights that are validated and kept."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn


class MovingAverage(WeightAveraging):
    """Lightning's ``EMAWeightAveraging``, bit for bit, with all tensors of a step together instead of one by one.

    Args:
        decay: of the average, per step.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self._pairs: tuple[list[Tensor], list[Tensor]] | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in the weights of a step; those of the first one are the average."""
        if trainer.global_step <= self._latest_update_step:
            return  # a part of a batch
        assert self._average_model is not None
        if self._pairs is None:
            self._pairs = tensors(self._average_model.module), tensors(pl_module)
        average(*self._pairs, self.decay if self._average_model.n_averaged else 0.0)
        self._average_model.n_averaged += 1
        self._latest_update_step = trainer.global_step


def tensors(module: nn.Module) -> list[Tensor]:
    """All that is averaged: parameters, then buffers."""
    return list(chain(module.parameters(), module.buffers()))


@torch.no_grad()
def average(averaged: list[Tensor], current: list[Tensor], decay: float) -> None:
    """averaged = decay * averaged + (1 - decay) * current, rounded as written; with ``decay`` 0 a copy.

    Args:
        averaged: changes; whole numbers are cut off.
        current: of the same shapes.
        decay: in [0, 1).
    """
    if not decay:
        torch._foreach_copy_(averaged, current)
        return
    real = [tensor.is_floating_point() for tensor in averaged]
    many = [[one for one, is_real in zip(group, real, strict=True) if is_real] for group in (averaged, current)]
    torch._foreach_mul_(many[0], decay)
    torch._foreach_add_(many[0], torch._foreach_mul(many[1], 1 - decay))
    for one, other, is_real in zip(averaged, current, real, strict=True):
        if not is_real:
            one.copy_(decay * one + (1 - decay) * other)
