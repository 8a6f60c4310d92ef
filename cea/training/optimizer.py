"""Muon for the matrices of a network, AdamW for all the rest, as one optimiser.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") replaces the momentum M = U S V^T
of a matrix by U V^T: all directions of an update get the same length, also those in which the gradient is weak. A
restorer of many degradations needs that. Errors of brightness are large and agree over a whole image, noise is small
and agrees with nothing, so under AdamW the first fill the updates and denoising is hardly learned.

``torch.optim.Muon`` takes matrices one by one; here those of one shape are one batch, kernels of convolutions join as
matrices, and the rest needs no second optimiser.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from cea.models.fused.muon import Update, muon_step, takes

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz iteration (Jordan et al. 2024): steepest at zero, not exact at one."""

_SMALLEST_NORM = 1e-7

_RMS = 0.2
"""Root mean square of an update of AdamW, which those of Muon are scaled to (Liu et al., arXiv 2502.16982)."""


class MuonAdamW(AdamW):
    """One optimiser step for all parameters of a network.

    Args:
        groups: of parameters, as for AdamW. The parameters of a group with ``muon: True`` are tensors of at least two
            axes; the first are rows, the others together columns.
        momentum: of Muon, with Nesterov's look ahead.
        iterations: of the orthogonalisation.
        compiled: take Muon's step as one compiled operator, where there is one; the last bits differ.
        options: of AdamW; ``weight_decay`` means the same to both.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        momentum: float = 0.95,
        iterations: int = 5,
        compiled: bool = False,
        **options: Any,
    ) -> None:
        super().__init__([{"muon": False} | group for group in groups], **options)
        self.momentum = momentum
        self.compiled = compiled
        self.iterations = iterations

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; the gradients of Muon's are used up (set to None)."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["muon"]:
                fused = self.compiled and takes(group["params"])
                (self._step_compiled if fused else self._step_matrices)(group)
        super().step()  # passes over parameters without a gradient
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                update = self._look_ahead(parameter).flatten(1)
                by_shape[update.shape[0], update.shape[1]].append((parameter, update))
                parameter.grad = None
        for shape, pairs in by_shape.items():
            parameters, updates = zip(*pairs, strict=True)
            length = group["lr"] * _RMS * max(shape) ** 0.5
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            for parameter, update in zip(
                parameters, orthogonalised(torch.stack(updates), self.iterations), strict=True
            ):
                parameter.sub_(update.view(parameter.shape), alpha=length)

    def _step_compiled(self, group: dict[str, Any]) -> None:
        updates = []
        for parameter in group["params"]:
            if parameter.grad is not None:
                momentum, gradient = self._momentum(parameter), parameter.grad
                if not gradient.stride() == momentum.stride() == parameter.stride():
                    gradient, momentum = (torch.empty_like(parameter).copy_(each) for each in (gradient, momentum))
                    self.state[parameter]["momentum"] = momentum
                length = group["lr"] * _RMS * max(parameter.shape[0], parameter[0].numel()) ** 0.5
                updates.append(Update(parameter, momentum, gradient, 1 - group["lr"] * group["weight_decay"], length))
                parameter.grad = None
        muon_step(
            updates,
            decay=self.momentum,
            iterations=self.iterations,
            quintic=_QUINTIC,
            least_norm=_SMALLEST_NORM,
        )

    def _momentum(self, parameter: Tensor) -> Tensor:
        """That of a parameter, whose step counts from here on."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # which AdamW expects of any state that it loads
            state["momentum"] = torch.zeros_like(parameter)
        state["step"] += 1
        momentum: Tensor = state["momentum"]
        return momentum

    def _look_ahead(self, parameter: Tensor) -> Tensor:
        momentum = self._momentum(parameter).lerp_(parameter.grad, 1 - self.momentum)  # type: ignore[arg-type]
        return torch.lerp(parameter.grad, momentum, self.momentum)  # type: ignore[arg-type]


def orthogonalised(matrices: Tensor, iterations: int = 5) -> Tensor:
    """U V^T of each matrix U S V^T, up to singular values between about .7 and 1.2 in the place of 1.

    Args:
        matrices: (B, m, n) float.
        iterations: of Newton and Schulz.

    Returns:
        (B, m, n). A matrix of zeros stays one.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalised(matrices.mT, iterations).mT
    a, b, c = _QUINTIC
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp_min(_SMALLEST_NORM)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def parameter_groups(network: nn.Module, weight_decay: float, muon_lr: float | None = None) -> list[dict[str, Any]]:
    """The parameters of a network, by what an optimiser should do with them; no Muon without ``muon_lr``.

    Weight decay is for matrices and kernels. Muon is for those of them that mix channels: not for depth-wise kernels,
    which are one small filter per channel, nor for parameters of a module's own, such as the rank queries of CEA.
    """
    mixing = {
        module.weight
        for module in network.modules()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
    }
    muons: list[nn.Parameter] = []
    kernels: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in network.parameters():
        kind = vectors if parameter.ndim < 2 else muons if muon_lr and parameter in mixing else kernels
        kind.append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": muons, "weight_decay": weight_decay, "muon": True, "lr": muon_lr},
        {"params": kernels, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
