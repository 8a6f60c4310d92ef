"""Static experts with Top-k token routing (sparse mixture of experts, Shazeer et al., 2017; restoration's family of
MoCE-IR, Zamfir et al., CVPR 2025)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cea.models.adapters.base import Adapter
from cea.models.config import ModelConfig
from cea.models.layers import ChannelNorm, Pointwise


class MixtureOfExperts(Adapter):
    """Each token goes to the k of r learned experts that its router prefers: dx_n = sum_(k in Top-k) p_nk E_k(x_n).

    p is the softmax over all experts, so the router learns even with k = 1. An expert is a two-layer perceptron of h
    hidden channels. At such widths it is fastest to run all experts as one product and to drop the unchosen (their
    hidden channels are multiplied by 0): the cost counted for this adapter is that of the dense products.

    Experts are kept in use by a bias of the choice, not of p, that falls for experts chosen too often (loss-free
    balancing, Wang et al., 2024). No noise, neither in training nor at inference. The bias is state, no parameter.
    """

    BALANCE_RATE = 1e-3

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        experts, width = config.rank, config.adapter_width
        self.top_k = min(config.top_k, experts)
        self.norm = ChannelNorm(channels)
        self.router = Pointwise(channels, experts, bias=False)
        self.widen = Pointwise(channels, experts * width)
        self.narrow = Pointwise(experts * width, channels)
        self.balance = nn.Buffer(torch.zeros(experts))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Experts that add nothing yet, and no preference among them."""
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)
        nn.init.zeros_(self.balance)

    def route(self, tokens: Tensor) -> Tensor:
        """Weights of the experts, (B, r, H, W): k of them positive at each token, the others exactly 0."""
        chances = self.router(tokens).softmax(dim=1)
        chosen = (chances.detach() + self.balance[:, None, None]).topk(self.top_k, dim=1).indices
        mask = torch.zeros_like(chances).scatter_(1, chosen, 1.0)
        if self.training:
            self._rebalance(mask)
        return chances * mask

    @torch.no_grad()
    def _rebalance(self, mask: Tensor) -> None:
        load = mask.mean(dim=(0, 2, 3))
        self.balance.add_((load.mean() - load).sign().to(self.balance.dtype), alpha=self.BALANCE_RATE)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        tokens = self.norm(x)
        hidden = F.gelu(self.widen(tokens)).unflatten(1, (self.balance.numel(), -1))
        mixed = (hidden * self.route(tokens)[:, :, None]).flatten(1, 2)
        corrected: Tensor = x + self.narrow(mixed)
        return corrected
