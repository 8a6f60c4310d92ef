"""The moving average of the weights, bit for bit that of Lightning and PyTorch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from cea.models.config import ModelConfig
from cea.models.network import build
from cea.training.averaging import average, tensors


class Counting(nn.Module):
    """A buffer of real numbers and one of whole ones."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)


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
