"""What a network costs, counted: parameters and multiply-accumulates. Nothing is computed: any size takes a moment."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from cea.models.config import ModelConfig
from cea.models.network import RestorationNetwork

SIDE = 224
"""Height and width in pixels at which multiply-accumulates are stated, as in the literature."""


class Cost(NamedTuple):
    """Attributes:
    parameters: of the whole network.
    macs: multiply-accumulates of one forward pass, as PyTorch's own counter has them: matrix products, convolutions
        and attention; not norms, gates or pooling.
    """

    parameters: int
    macs: int


def cost(config: ModelConfig, height: int = SIDE, width: int = SIDE) -> Cost:
    """Parameters, and multiply-accumulates for one image of 3 x ``height`` x ``width``, on PyTorch's meta device."""
    with torch.device("meta"), torch.no_grad():
        network = RestorationNetwork(config).eval()
        image = torch.empty(1, 3, height, width)
        with FlopCounterMode(display=False) as counter:
            network(image)
    return Cost(sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2)


def figures(config: ModelConfig) -> dict[str, float]:
    """The cost as numbers to log beside a run, and the adapters' share against the same network without them."""
    own, plain = cost(config), cost(config.model_copy(update={"adapter": "none"}))
    return {
        "parameters": float(own.parameters),
        "gmacs_224": own.macs / 1e9,
        "adapter_parameters_ratio": own.parameters / plain.parameters,
        "adapter_macs_ratio": own.macs / plain.macs,
    }
