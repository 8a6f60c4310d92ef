"""Weights spread over processes by Lightning (docs/several-processes.md): ``python -m tests.sharded FILE``.

Three steps of AdamW in float64, on shares of the same batches; the first process writes the whole weights to FILE, and
how many numbers it held itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset

from cea.models.backbone import Stage
from cea.models.config import ModelConfig
from cea.models.network import build
from cea.training.config import TrainConfig
from cea.training.module import RestorationModule

MODEL = ModelConfig(width=8, rank=4, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
BATCH, STEPS = 4, 3


class Spread(RestorationModule):
    """Trains with each stage's weights spread over the processes of ``ModelParallelStrategy``."""

    def configure_model(self) -> None:
        if not isinstance(self.trainer.strategy, ModelParallelStrategy):
            return
        mesh = self.device_mesh["data_parallel"]
        self.network.to(memory_format=torch.contiguous_format)  # other layouts are refused
        for module in self.network.modules():
            if isinstance(module, Stage):
                fully_shard(module, mesh=mesh)
        fully_shard(self.network, mesh=mesh)
        register_fsdp_forward_method(self.network, "judged")

    def configure_optimizers(self) -> Optimizer:
        return torch.optim.AdamW(self.network.parameters(), lr=1e-3)


class Patches(IterableDataset[tuple[Tensor, Tensor]]):
    """Each process's share of each batch, uint8."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        for step in range(STEPS):
            rng = torch.Generator().manual_seed(step)
            clean = torch.randint(0, 256, (BATCH, 3, 16, 16), generator=rng).to(torch.uint8)
            yield (clean // 2)[rank::size], clean[rank::size]


def main(path: Path) -> None:
    size = int(os.environ.get("WORLD_SIZE", 1))
    module = Spread(build(MODEL, seed=0).double(), TrainConfig())
    trainer = Trainer(
        accelerator="cpu",
        devices=size,
        strategy=ModelParallelStrategy(data_parallel_size=size, tensor_parallel_size=1) if size > 1 else "auto",
        max_steps=STEPS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(Patches(), batch_size=None))
    held = sum(one.to_local().numel() if isinstance(one, DTensor) else one.numel() for one in module.parameters())
    weights = {
        name: one.full_tensor() if isinstance(one, DTensor) else one for name, one in module.state_dict().items()
    }
    if trainer.is_global_zero:
        torch.save({"held": held, "weights": weights}, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
