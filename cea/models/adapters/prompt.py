"""A bank of learned prompts, mixed by weights that the whole image decides (after PromptIR, Potlapalli et al., 2023).

Generation as in the paper: weights = softmax of a linear map of the channel means; the mixed prompt is stretched over
the map. The interaction here is a gated residual layer in place of the paper's transformer block, so that the adapter
keeps the feature map's shape and costs what the others cost.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cea.models.adapters.base import Adapter
from cea.models.config import ModelConfig
from cea.models.global_context import GlobalMap
from cea.models.layers import ChannelNorm, Pointwise


class PromptBank(Adapter, GlobalMap):
    """x + out(gelu(in(x) + prompt(x))): r prompts of h channels on a ``prompt_grid`` x ``prompt_grid`` grid."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        width, grid = config.adapter_width, config.prompt_grid
        self.prompts = nn.Parameter(torch.empty(config.rank, width, grid, grid))
        self.to_weights = nn.Linear(channels, config.rank)
        self.norm = ChannelNorm(channels)
        self.narrow = Pointwise(channels, width)
        self.widen = Pointwise(width, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random prompts, and no residual."""
        nn.init.normal_(self.prompts)
        nn.init.zeros_(self.widen.weight)
        nn.init.zeros_(self.widen.bias)

    def measure(self, *maps: Tensor) -> Tensor:
        """The image's prompt, (B, h, g, g): a convex mixture of the bank, decided by the image's channel means."""
        (x,) = maps
        weights = self.to_weights(x.mean(dim=(2, 3))).softmax(dim=-1)
        return (weights @ self.prompts.flatten(1)).unflatten(1, self.prompts.shape[1:])

    def prompt(self, x: Tensor) -> Tensor:
        """The image's prompt stretched over the map, (B, h, H, W)."""
        return F.interpolate(self.context(x), size=x.shape[-2:], mode="bilinear", align_corners=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        corrected: Tensor = x + self.widen(F.gelu(self.narrow(self.norm(x)) + self.prompt(x)))
        return corrected
