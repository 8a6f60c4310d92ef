"""Muon and AdamW in one optimiser, against PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cea.models.config import ModelConfig
from cea.models.fused import compiled
from cea.models.network import build
from cea.training.optimizer import MuonAdamW, orthogonalised, parameter_groups


@pytest.mark.parametrize("shape", [(3, 6, 6), (2, 4, 9), (2, 9, 4), (1, 1, 5)])
def test_singular_values_end_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(1)
    left, values, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    result = orthogonalised(left * values[:, None] @ right)
    assert torch.linalg.svdvals(result).sub(1).abs().max() < 0.35
    aligned = left.mT @ result @ right.mT  # the directions stay: diagonal in the bases of the input
    off = aligned - torch.diag_embed(torch.diagonal(aligned, dim1=1, dim2=2))
    assert off.abs().max() < 1e-4


def test_weak_directions_are_raised() -> None:
    weak = torch.diag(torch.tensor([1.0, 0.1]))[None]
    assert torch.linalg.svdvals(orthogonalised(weak))[0].min() > 0.6


def test_no_gradient_no_update() -> None:
    assert not orthogonalised(torch.zeros(1, 3, 5)).any()


def test_same_updates_as_torch_muon() -> None:
    torch.manual_seed(2)
    ours, theirs = (nn.ParameterList(torch.randn(shape) for shape in [(6, 10), (10, 6), (6, 10)]) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    before = copy.deepcopy(ours)
    options = {"lr": 0.02, "weight_decay": 0.1}
    batched = MuonAdamW([{"params": list(ours), "muon": True}], **options)
    single = torch.optim.Muon(list(theirs), momentum=0.95, adjust_lr_fn="match_rms_adamw", **options)
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        batched.step()
        single.step()
    for one, other, start in zip(ours, theirs, before, strict=True):
        assert (one - other).norm() < 0.02 * (one - start).norm()  # torch's iterates in bfloat16


def test_a_kernel_is_a_matrix_of_its_output_channels() -> None:
    torch.manual_seed(3)
    kernel, matrix = nn.Parameter(torch.randn(4, 3, 2, 2)), nn.Parameter(torch.empty(4, 12))
    matrix.data = kernel.data.flatten(1).clone()
    kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(4, 3, 2, 2)
    kernel.grad, matrix.grad = gradient.contiguous(memory_format=torch.channels_last), gradient.flatten(1)
    for parameter in (kernel, matrix):
        MuonAdamW([{"params": [parameter], "muon": True}], lr=0.1).step()
    torch.testing.assert_close(kernel.flatten(1), matrix)


def test_the_rest_is_plain_adamw() -> None:
    torch.manual_seed(4)
    networks = [build(ModelConfig(width=8, rank=2)) for _ in range(2)]
    gradients = [torch.randn_like(parameter) for parameter in networks[0].parameters()]
    options = {"lr": 1e-2, "betas": (0.9, 0.99)}
    both = MuonAdamW(parameter_groups(networks[0], 0.1, 1e-2), **options)
    plain = torch.optim.AdamW(parameter_groups(networks[1], 0.1), **options)
    for network, optimizer in zip(networks, (both, plain), strict=True):
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    muon = {id(parameter) for group in both.param_groups if group["muon"] for parameter in group["params"]}
    pairs = list(zip(networks[0].parameters(), networks[1].parameters(), strict=True))
    assert all(torch.equal(one, other) for one, other in pairs if id(one) not in muon)
    assert not any(torch.equal(one, other) for one, other in pairs if id(one) in muon)


def test_every_parameter_is_in_one_group() -> None:
    network = build(ModelConfig(width=8, rank=2))
    for rate in (1e-2, None):
        groups = parameter_groups(network, 0.1, rate)
        found = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(found) == sorted(id(parameter) for parameter in network.parameters())
        assert all(p.ndim == 1 for group in groups if not group["weight_decay"] for p in group["params"])


def test_muon_takes_what_mixes_channels() -> None:
    network = build(ModelConfig(width=8, rank=2))
    muon = {id(p) for group in parameter_groups(network, 0.1, 1e-2) if "muon" in group for p in group["params"]}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in muon}
    assert {"backbone.stem.weight", "backbone.head.weight"} <= names
    assert not any("depthwise" in name or "queries" in name or name.endswith("bias") for name in names)
    assert not any(group.get("muon") for group in parameter_groups(network, 0.1))


def test_goes_on_from_a_saved_state() -> None:
    torch.manual_seed(5)
    networks = [build(ModelConfig(width=8, rank=2)) for _ in range(2)]
    optimizers = [MuonAdamW(parameter_groups(network, 0.1, 1e-2), lr=1e-2) for network in networks]

    def step(number: int, seed: int) -> None:
        torch.manual_seed(seed)
        for parameter in networks[number].parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizers[number].step()

    step(0, 6)
    networks[1].load_state_dict(networks[0].state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for number in (0, 1):
        step(number, 7)
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_closure_makes_the_gradients() -> None:
    network = nn.Linear(3, 2)
    optimizer = MuonAdamW(parameter_groups(network, 0.0, 1e-2), lr=1e-2)
    before = network.weight.detach().clone()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = network(torch.ones(1, 3)).square().sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert optimizer.step(closure) < first
    assert not torch.equal(network.weight, before)


@pytest.mark.skipif(compiled.LIBRARY is None, reason="the package was installed without a C compiler")
def test_the_compiled_step_is_the_same_step() -> None:
    """Matrices of all sorts, kernels in channels_last, and a gradient that is laid out in another way."""
    torch.manual_seed(7)
    shapes = [(24, 48), (48, 24), (12, 24, 3, 3), (24, 12, 3, 3), (1, 5), (5, 1), (17, 9), (96, 96)]
    plain = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    for parameter in plain:
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    fast = copy.deepcopy(plain)
    start = copy.deepcopy(plain)
    groups = [[{"params": list(each), "muon": True}] for each in (plain, fast)]
    optimizers = [
        MuonAdamW(group, lr=0.02, weight_decay=0.1, compiled=each)
        for group, each in zip(groups, (False, True), strict=True)
    ]
    for _ in range(4):
        for one, other in zip(plain, fast, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert all(parameter.grad is None for parameter in fast)
    for one, other, first in zip(plain, fast, start, strict=True):
        assert float((one - other).detach().norm()) < 1e-4 * float((one - first).detach().norm())
    states = [optimizer.state_dict()["state"] for optimizer in optimizers]
    for one, other in zip(states[0].values(), states[1].values(), strict=True):
        torch.testing.assert_close(other["momentum"], one["momentum"])
        assert float(other["step"]) == float(one["step"]) == 4


def test_the_compiled_step_leaves_what_it_does_not_take() -> None:
    """Double precision goes through PyTorch's operators."""
    torch.manual_seed(8)
    plain = nn.Parameter(torch.randn(6, 4, dtype=torch.float64))
    other = copy.deepcopy(plain)
    for parameter, each in ((plain, False), (other, True)):
        parameter.grad = torch.ones_like(parameter)
        MuonAdamW([{"params": [parameter], "muon": True}], lr=0.1, compiled=each).step()
    assert torch.equal(plain, other)
