"""How long trainings will take, from a few steps of each network on this machine."""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import Tensor

from cea.models.config import ModelConfig
from cea.models.network import build
from cea.training.config import TrainConfig
from cea.training.fit import uses_gpu
from cea.training.module import RestorationModule
from cea.training.thread_parallel import Shares

STEPS = 3
"""Timed, after one that is not; their median counts."""


def step_seconds(model: ModelConfig, config: TrainConfig, steps: int = STEPS) -> float:
    """Seconds per training step (forward, backward, optimiser) on random patches; loading and validation come on top.

    As many threads as in ``config``, in float32.
    """
    device = torch.device("cuda" if uses_gpu(config) else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(1 if config.threads else before)
    module = RestorationModule(build(model, 0), config).to(device)
    optimizer = module.configure_optimizers()["optimizer"]
    parameters = list(module.network.parameters())
    shares = Shares(config.threads) if config.threads > 1 and device.type == "cpu" else None
    size = (config.batch, 3, config.patch, config.patch)
    clean = torch.rand(size, generator=torch.Generator().manual_seed(0)).to(device, memory_format=torch.channels_last)

    def loss_of(degraded: Tensor, clean: Tensor) -> Tensor:
        return module.loss(module.network.judged(degraded).restored, clean, degraded)

    def timed() -> float:
        start = time.perf_counter()
        loss = shares.loss(loss_of, parameters, clean / 2, clean) if shares else loss_of(clean / 2, clean)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for a GPU
        return time.perf_counter() - start

    try:
        return median([timed() for _ in range(steps + 1)][1:])
    finally:
        if shares:
            shares.close()
        torch.set_num_threads(before)
