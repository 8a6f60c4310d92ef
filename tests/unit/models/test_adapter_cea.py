"""The adapter is the equation: one assembly in three readings, its symmetries, and experts that stay different."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cea.models.adapters.cea import (
    ContinuousExpertAssembly,
    Experts,
    HyperAdapter,
    affinities,
    as_map,
    as_tokens,
)
from cea.models.adapters.cells import Cells
from cea.models.config import ModelConfig
from cea.models.diagnostics import effective_rank, varying_share

C, R = 12, 5


def random_adapter(seed: int = 0, **changes: object) -> ContinuousExpertAssembly:
    """An adapter in float64 whose every weight is random (so not the identity)."""
    config = ModelConfig.model_validate({"rank": R, "hyper_width": 8, "key_cell": 1, "residual_scale": 1} | changes)
    adapter = ContinuousExpertAssembly(C, config).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2)
    return adapter


def random_map(seed: int = 0, batch: int = 2, size: tuple[int, int] = (6, 7)) -> Tensor:
    generator = torch.Generator().manual_seed(100 + seed)
    return torch.randn((batch, C, *size), generator=generator, dtype=torch.float64)


def random_experts(seed: int = 0, batch: int = 2) -> Experts:
    generator = torch.Generator().manual_seed(200 + seed)
    a, d = torch.randn((2, batch, R, C), generator=generator, dtype=torch.float64)
    return Experts(a, d)


class TestAssembly:
    def test_three_readings_are_one_function(self) -> None:
        x, (a, d, *_) = random_map(), random_experts()
        tokens = as_tokens(x)
        routed = torch.zeros_like(tokens)
        for k in range(R):  # routing: each expert adds its direction, weighted by the token's affinity
            routed += (tokens * a[:, k, None, :]).sum(-1, keepdim=True) * d[:, k, None, :]
        attended = torch.einsum("bnc,bkc->bnk", tokens, a) @ d  # linear attention: queries X, keys A, values D
        merged = tokens @ torch.einsum("bkc,bke->bce", a, d)  # the image's own C x C weight
        assembled = as_tokens(random_adapter().assemble(x, Experts(a, d)))
        for reading in (routed, attended, merged):
            torch.testing.assert_close(assembled, reading, rtol=0, atol=1e-12)

    def test_by_hand(self) -> None:
        """Two channels, one token x = (2, 1), two experts: <x, a_1> = 2, <x, a_2> = -1."""
        x = torch.tensor([2.0, 1.0]).reshape(1, 2, 1, 1)
        a = torch.tensor([[[1.0, 0.0], [0.0, -1.0]]])
        d = torch.tensor([[[0.5, 3.0], [1.0, 1.0]]])
        coefficients = affinities(as_tokens(x), a)
        assert coefficients.tolist() == [[[2.0, -1.0]]]  # dense and signed: no softmax, no Top-k
        assert (coefficients @ d).tolist() == [[[0.0, 5.0]]]

    @pytest.mark.parametrize("kind", ["dot", "layernorm", "cosine"])
    def test_order_of_experts_does_not_matter(self, kind: str) -> None:
        adapter, x, (a, d, *_) = random_adapter(affinity=kind), random_map(), random_experts()
        order = torch.tensor([3, 0, 4, 1, 2])
        torch.testing.assert_close(
            adapter.assemble(x, Experts(a[:, order], d[:, order])),
            adapter.assemble(x, Experts(a, d)),
            rtol=0,
            atol=1e-12,
        )

    def test_affinities_differ_as_named(self) -> None:
        tokens, a = as_tokens(random_map()), random_experts().routing
        cosine = affinities(tokens, a, "cosine")
        assert cosine.abs().max() <= 1
        torch.testing.assert_close(affinities(7 * tokens, 2 * a, "cosine"), cosine)
        shifted = affinities(7 * tokens + 3, a, "layernorm")
        torch.testing.assert_close(shifted, affinities(tokens, a, "layernorm"), rtol=1e-3, atol=1e-3)  # up to its eps
        torch.testing.assert_close(affinities(7 * tokens, a, "dot"), 7 * affinities(tokens, a, "dot"))

    def test_views_are_inverse_and_free_of_copies(self) -> None:
        x = random_map().contiguous(memory_format=torch.channels_last)
        tokens = as_tokens(x)
        assert tokens.data_ptr() == x.data_ptr()
        assert torch.equal(as_map(tokens, x.shape), x)


class TestAdapter:
    @pytest.mark.parametrize("kind", ["dot", "layernorm", "cosine"])
    def test_permuted_tokens_give_permuted_output(self, kind: str) -> None:
        adapter, x = random_adapter(affinity=kind), random_map()
        order = torch.randperm(42, generator=torch.Generator().manual_seed(1))
        shuffled = x.flatten(2)[..., order].reshape(x.shape)
        expected = adapter(x).flatten(2)[..., order].reshape(x.shape)
        torch.testing.assert_close(adapter(shuffled), expected, rtol=0, atol=1e-12)

    def test_permuted_queries_change_nothing(self) -> None:
        adapter, x = random_adapter(), random_map()
        before = adapter(x)
        with torch.no_grad():
            adapter.hyper.queries.copy_(adapter.hyper.queries[torch.tensor([4, 2, 0, 1, 3])])
        torch.testing.assert_close(adapter(x), before, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("cell", [1, 2])
    @pytest.mark.parametrize("kind", ["dot", "layernorm", "cosine"])
    def test_gradients(self, kind: str, cell: int) -> None:
        adapter = random_adapter(affinity=kind, key_cell=cell)
        x = random_map(batch=1, size=(2, 3)).requires_grad_()
        names, values = zip(*adapter.named_parameters(), strict=True)

        def run(x: Tensor, *parameters: Tensor) -> Tensor:
            return torch.func.functional_call(adapter, dict(zip(names, parameters, strict=True)), (x,))

        assert torch.autograd.gradcheck(run, (x, *values))

    def test_starts_as_identity_and_can_leave_it(self) -> None:
        adapter, x = ContinuousExpertAssembly(C, ModelConfig()), random_map().float()
        assert torch.equal(adapter(x), x)
        adapter(x).square().mean().backward()
        gradient = adapter.hyper.to_directions.weight.grad
        assert gradient is not None
        assert gradient.abs().max() > 0

    def test_images_do_not_see_each_other(self) -> None:
        adapter, x = random_adapter(), random_map(batch=3)
        torch.testing.assert_close(adapter(x)[1:2], adapter(x[1:2]), rtol=0, atol=1e-12)

    def test_pooled_keys_of_a_flat_map_are_its_tokens(self) -> None:
        """Averaging over cells, whole and partial ones, loses nothing where there is nothing to lose."""
        flat = random_map(size=(7, 9)).mean(dim=(2, 3), keepdim=True).expand(-1, -1, 7, 9).contiguous()
        torch.testing.assert_close(random_adapter(key_cell=4)(flat), random_adapter()(flat))

    @pytest.mark.parametrize("changes", [{"key_cell": 4}, {"key_cell": 1}])
    def test_experts_do_not_depend_on_the_size_of_the_image(self, changes: dict[str, int]) -> None:
        """The same texture, more of it: a photograph gets the experts that its patches got in training."""
        adapter, patch = random_adapter(**changes), random_map(size=(16, 16))
        torch.testing.assert_close(adapter.hyper(patch.tile(1, 1, 5, 3)), adapter.hyper(patch))

    def test_a_grid_of_so_many_cells_depends_on_the_size(self) -> None:
        """What ``key_grid`` does, and why it is no default: larger cells average more noise away."""
        adapter, patch = random_adapter(key_grid=4), random_map(size=(16, 16))
        large, small = adapter.hyper(patch.tile(1, 1, 5, 5)).routing, adapter.hyper(patch).routing
        assert (large - small).norm() / small.norm() > 0.05

    def test_bfloat16_agrees(self) -> None:
        adapter, x = random_adapter(), random_map() / 4
        exact = adapter(x) - x
        rough = (adapter.bfloat16()(x.bfloat16()) - x.bfloat16()).double()
        assert (rough - exact).norm() / exact.norm() < 0.03

    def test_residual_scale(self) -> None:
        x = random_map()
        once, half = random_adapter()(x) - x, random_adapter(residual_scale=0.5)(x) - x
        torch.testing.assert_close(half, once / 2)


class Collapsing(HyperAdapter):
    """The trap: tokens without the query that asked for them."""

    def instance_tokens(self, attended: Tensor) -> Tensor:
        tokens: Tensor = self.norm_tokens(attended)
        return tokens


def trained_effective_ranks(kind: type[HyperAdapter], cell: int = 1, steps: int = 60) -> tuple[float, float]:
    """Effective ranks of A and D after fitting an adapter to a full-rank map whose strength follows the image's colour.

    The map has 8 x 8 cells.

    As in features of photographs, the tokens of an image share most of their energy (its colour).
    """
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapter = ContinuousExpertAssembly(C, ModelConfig())
        adapter.hyper = kind(C, rank=8, width=16, cells=Cells(cell))
    colour = torch.randn(16, C, 1, 1, generator=draw)
    x = colour + 0.5 * nn.functional.avg_pool2d(torch.randn(16, C, 8 * cell, 8 * cell, generator=draw), 3, 1, 1)
    mix = torch.randn(C, C, generator=draw) / C**0.5
    target = x + torch.einsum("bchw,ce->behw", x, mix) * (1 + colour.mean(1, keepdim=True))
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.l1_loss(adapter(x), target).backward()
        optimizer.step()
    with torch.no_grad():
        experts = adapter.hyper(x)
    return float(effective_rank(experts.routing).mean()), float(effective_rank(experts.directions).mean())


class TestCollapse:
    @pytest.mark.parametrize("cell", [1, 4])
    def test_experts_stay_different_in_training(self, cell: int) -> None:
        rank_a, rank_d = trained_effective_ranks(HyperAdapter, cell)
        assert rank_a >= 4
        assert rank_d >= 4

    def test_guard_sees_the_collapse(self) -> None:
        rank_a, rank_d = trained_effective_ranks(Collapsing)
        assert rank_a < 4
        assert rank_d < 4


class TestMeasures:
    def test_effective_rank(self) -> None:
        assert effective_rank(torch.eye(5, 9)).item() == pytest.approx(5)
        assert effective_rank(torch.ones(5, 9)).item() == pytest.approx(1)
        assert effective_rank(torch.zeros(5, 9)).item() == 0
        two_equal_one_absent = torch.diag(torch.tensor([3.0, 3.0, 0.0]))
        assert effective_rank(torch.stack([two_equal_one_absent, torch.eye(3)])).tolist() == pytest.approx([2, 3])

    def test_varying_share(self) -> None:
        same = torch.ones(4, R, C)
        opposite = torch.cat([same, -same])
        assert varying_share(same).item() == pytest.approx(0)
        assert varying_share(opposite).item() == pytest.approx(1)
        assert varying_share(torch.cat([3 * same, 1 * same])).item() == pytest.approx(0.2)  # mean 2, deviation 1
