"""One step on several CPU threads, each with its share of the batch.

PyTorch's own threads divide every operator; at the size of a network for the CPU that costs more than it saves. Whole
shares of a batch need to wait for each other once per step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LossOf = Callable[..., Tensor]
"""The tensors of a batch, (B, ...) each, to the mean loss over it."""


class Shares:
    """Computes the loss of a batch, and its gradient, in ``count`` threads.

    The result does not depend on the machine's cores, but its last bits do on ``count``.
    """

    def __init__(self, count: int) -> None:
        self.pool = ThreadPoolExecutor(count, "share", initializer=torch.set_num_threads, initargs=(1,))
        self.count = count

    def loss(self, loss_of: LossOf, parameters: Sequence[Tensor], *batch: Tensor) -> Tensor:
        """``loss_of(*batch)``, whose gradient with respect to ``parameters`` is known already."""
        loss: Tensor = _Known.apply(lambda: self._gradients(loss_of, parameters, batch), *parameters)  # type: ignore[no-untyped-call]
        return loss

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown()

    def _gradients(
        self, loss_of: LossOf, parameters: Sequence[Tensor], batch: tuple[Tensor, ...]
    ) -> tuple[Tensor, list[Tensor]]:
        """The loss and its gradient, summed over the shares in their order."""

        def of_share(share: tuple[Tensor, ...]) -> tuple[Tensor, Sequence[Tensor]]:
            with torch.enable_grad():
                loss = loss_of(*share) * (len(share[0]) / len(batch[0]))
            return loss.detach(), torch.autograd.grad(loss, parameters, materialize_grads=True)

        shares = zip(*(tensor.tensor_split(self.count) for tensor in batch), strict=True)
        losses, gradients = zip(*self.pool.map(of_share, (share for share in shares if len(share[0]))), strict=True)
        total = list(gradients[0])
        for gradient in gradients[1:]:
            torch._foreach_add_(total, gradient)
        return torch.stack(losses).sum(), total


class _Known(torch.autograd.Function):
    """A scalar whose gradient is computed together with it."""

    @staticmethod
    def forward(ctx: Any, compute: Callable[[], tuple[Tensor, list[Tensor]]], *parameters: Tensor) -> Tensor:
        loss, ctx.gradients = compute()
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(gradient * scale for gradient in ctx.gradients)
