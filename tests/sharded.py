"""A network with its weights spread over processes (docs/several-processes.md): ``python -m tests.sharded FILE``.

Three steps of AdamW in float64, on shares of the same batches; the first process writes the whole weights to FILE, and
which part of them each process held.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import l1_loss

from cea.models.backbone import Stage
from cea.models.config import ModelConfig
from cea.models.network import build

MODEL = ModelConfig(width=8, rank=4, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
BATCH = 4


def spread(network: nn.Module) -> None:
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    network.to(memory_format=torch.contiguous_format)  # other layouts are refused
    for module in network.modules():
        if isinstance(module, Stage):
            fully_shard(module, mesh=mesh)
    fully_shard(network, mesh=mesh)


def batch(step: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(step)
    clean = torch.rand(BATCH, 3, 16, 16, generator=rng, dtype=torch.float64)
    return 0.6 * clean, clean


def whole(weight: Tensor) -> Tensor:
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


def main(path: Path) -> None:
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    network = build(MODEL, seed=0).double()
    if size > 1:
        distributed.init_process_group("gloo")
        spread(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for step in range(3):
        degraded, clean = (images[rank::size] for images in batch(step))
        optimizer.zero_grad()
        l1_loss(network(degraded), clean).backward()
        optimizer.step()
    held = sum(one.to_local().numel() if isinstance(one, DTensor) else one.numel() for one in network.parameters())
    weights = {name: whole(weight) for name, weight in network.state_dict().items()}
    if rank == 0:
        torch.save({"held": held, "weights": weights}, path)
    if size > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
