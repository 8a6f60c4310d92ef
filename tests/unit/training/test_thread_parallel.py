"""A step in shares is the step as a whole."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from cea.models.config import ModelConfig
from cea.models.network import build
from cea.training.thread_parallel import Shares


@pytest.mark.parametrize(("count", "batch"), [(2, 4), (3, 4), (4, 2), (2, 1)])
def test_loss_and_gradient_of_the_whole_batch(count: int, batch: int) -> None:
    torch.manual_seed(count)
    network = build(ModelConfig(width=8, rank=2)).double()
    torch.nn.init.normal_(network.backbone.head.weight, std=0.1)
    degraded, clean = torch.rand(2, batch, 3, 8, 8, dtype=torch.float64)
    measured = {}
    parameters = list(network.parameters())

    def loss_of(degraded: Tensor, clean: Tensor) -> Tensor:
        return (network(degraded) - clean).abs().mean()

    shares = Shares(count)
    for name, loss in (
        ("shares", shares.loss(loss_of, parameters, degraded, clean)),
        ("whole", loss_of(degraded, clean)),
    ):
        network.zero_grad()
        (3 * loss).backward()
        measured[name] = loss.item(), [parameter.grad.clone() for parameter in parameters]
    shares.close()
    assert measured["shares"][0] == pytest.approx(measured["whole"][0], rel=1e-12)
    for one, other in zip(measured["shares"][1], measured["whole"][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_every_share_has_its_thread_and_each_thread_computes_alone() -> None:
    meeting = threading.Barrier(3, timeout=10)
    seen: list[tuple[str, int]] = []
    weight = torch.ones(1, requires_grad=True)

    def loss_of(degraded: Tensor, clean: Tensor) -> Tensor:
        meeting.wait()  # breaks unless three shares are under way at once
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        return (degraded * weight - clean).mean()

    shares = Shares(3)
    shares.loss(loss_of, [weight], *torch.rand(2, 6, 3, 2, 2))
    shares.close()
    assert len({name for name, _ in seen}) == 3
    assert {count for _, count in seen} == {1}


def test_an_error_in_a_share_is_the_callers() -> None:
    def loss_of(degraded: Tensor, clean: Tensor) -> Tensor:
        raise ValueError("no such loss")

    shares = Shares(2)
    with pytest.raises(ValueError, match="no such loss"):
        shares.loss(loss_of, [torch.ones(1, requires_grad=True)], *torch.rand(2, 4, 3, 2, 2))
    shares.close()
