"""Each rival computes what its paper's idea says, written out a second time, slowly."""

from __future__ import annotations

from typing import TypeVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cea.models.adapters.base import Adapter
from cea.models.adapters.cea import ContinuousExpertAssembly, Experts
from cea.models.adapters.cells import Cells
from cea.models.adapters.film import Film, Modulation
from cea.models.adapters.film_local import LocalFilm
from cea.models.adapters.lora import LowRank
from cea.models.adapters.moe import MixtureOfExperts
from cea.models.adapters.prompt import PromptBank
from cea.models.config import ModelConfig

C = 6
AnyAdapter = TypeVar("AnyAdapter", bound=Adapter)


def awake(kind: type[AnyAdapter], **changes: object) -> AnyAdapter:
    """An adapter in float64 whose every parameter is random (so not the identity)."""
    values = {"rank": 4, "adapter_width": 5, "local_cell": 4, "prompt_grid": 3, "residual_scale": 1} | changes
    adapter = kind(C, ModelConfig.model_validate(values)).double().eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64) / 2)
    return adapter


def feature_map(height: int = 8, width: int = 12) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(2, C, height, width, generator=draw, dtype=torch.float64)


def tokens_of(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def normalised(tokens: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    return F.layer_norm(tokens, (C,), norm.weight, norm.bias)


class TestLowRank:
    def test_is_the_assembly_with_experts_that_no_image_defines(self) -> None:
        adapter, x = awake(LowRank), feature_map()
        static = Experts(adapter.down.weight.expand(2, -1, -1), adapter.up.weight.mT.expand(2, -1, -1))
        assembled = awake(ContinuousExpertAssembly, rank=5).assemble(x, static)
        torch.testing.assert_close(adapter(x) - x, assembled)


def modulated(x: Tensor, means: Tensor, modulation: Modulation) -> Tensor:
    """FiLM of tokens (..., C) by the channel means (..., C)."""
    hidden = F.gelu(normalised(means, modulation.norm) @ modulation.hidden.weight.T + modulation.hidden.bias)
    scale, shift = (hidden @ modulation.to_scale_shift.weight.T + modulation.to_scale_shift.bias).split(C, dim=-1)
    return x * (1 + scale) + shift


class TestFilm:
    def test_one_scale_and_shift_for_the_whole_image(self) -> None:
        adapter, x = awake(Film), feature_map()
        expected = modulated(tokens_of(x), tokens_of(x).mean(dim=1, keepdim=True), adapter.modulation)
        torch.testing.assert_close(tokens_of(adapter(x)), expected)

    def test_per_token_where_every_token_is_a_cell(self) -> None:
        adapter, x = awake(LocalFilm, local_cell=1), feature_map()
        torch.testing.assert_close(tokens_of(adapter(x)), modulated(tokens_of(x), tokens_of(x), adapter.modulation))

    @pytest.mark.parametrize("size", [(9, 9), (7, 8)])
    def test_in_the_middle_of_a_cell_the_cell_alone_counts(self, size: tuple[int, int]) -> None:
        """Cells of 3: the token in the middle needs no interpolation, also where the map cuts the last cells off."""
        adapter, x = awake(LocalFilm, local_cell=3), feature_map(*size)
        adapted = adapter(x)
        for row in range(size[0] // 3):
            for column in range(size[1] // 3):
                means = x[..., 3 * row : 3 * row + 3, 3 * column : 3 * column + 3].mean(dim=(2, 3))
                at = (..., 3 * row + 1, 3 * column + 1)
                torch.testing.assert_close(adapted[at], modulated(x[at], means, adapter.modulation))

    def test_far_cells_do_not_count(self) -> None:
        x = feature_map(16, 16)
        changed = x.clone()
        changed[:, 0, 12:, 12:] += 9
        local, whole = awake(LocalFilm), awake(Film)
        assert torch.equal(local(changed)[..., :8, :8], local(x)[..., :8, :8])
        assert not torch.allclose(whole(changed)[..., :8, :8], whole(x)[..., :8, :8])

    def test_cells_come_from_the_configuration(self) -> None:
        assert awake(LocalFilm, local_cell=2, key_cell=3, key_grid=7).cells == Cells(2)


class TestPromptBank:
    def test_mixed_stretched_and_gated(self) -> None:
        adapter, x = awake(PromptBank), feature_map(3, 3)  # as large as the prompts: nothing is stretched
        weights = F.softmax(x.mean(dim=(2, 3)) @ adapter.to_weights.weight.T + adapter.to_weights.bias, dim=1)
        prompt = torch.einsum("br,rhyx->byxh", weights, adapter.prompts).flatten(1, 2)
        hidden = normalised(tokens_of(x), adapter.norm) @ adapter.narrow.weight.T + adapter.narrow.bias + prompt
        expected = tokens_of(x) + F.gelu(hidden) @ adapter.widen.weight.T + adapter.widen.bias
        torch.testing.assert_close(tokens_of(adapter(x)), expected)

    def test_of_equal_prompts_any_mixture_is_the_same(self) -> None:
        adapter = awake(PromptBank)
        with torch.no_grad():
            adapter.prompts.copy_(adapter.prompts[:1].expand_as(adapter.prompts))
        torch.testing.assert_close(adapter.measure(feature_map())[0], adapter.prompts[0])


class TestMixtureOfExperts:
    @pytest.mark.parametrize("top_k", [1, 2, 4])
    def test_each_token_takes_its_k_likeliest_experts(self, top_k: int) -> None:
        adapter, x = awake(MixtureOfExperts, top_k=top_k), feature_map()
        tokens = normalised(tokens_of(x), adapter.norm)
        chances = F.softmax(tokens @ adapter.router.weight.T, dim=-1)
        expected = tokens_of(x).clone() + adapter.narrow.bias
        for image in range(2):
            for place in range(tokens.shape[1]):
                for expert in chances[image, place].topk(top_k).indices.tolist():
                    own = slice(5 * expert, 5 * expert + 5)
                    inner = adapter.widen.weight[own] @ tokens[image, place] + adapter.widen.bias[own]
                    outer = adapter.narrow.weight[:, own] @ F.gelu(inner)
                    expected[image, place] += chances[image, place, expert] * outer
        torch.testing.assert_close(tokens_of(adapter(x)), expected)

    def test_k_weights_are_those_of_the_softmax_and_the_others_zero(self) -> None:
        adapter, x = awake(MixtureOfExperts), feature_map()
        weights, chances = adapter.route(x), adapter.router(x).softmax(dim=1)
        assert ((weights > 0).sum(dim=1) == 2).all()
        torch.testing.assert_close(weights[weights > 0], chances[weights > 0])

    def test_balance_draws_tokens_from_crowded_to_idle_experts(self) -> None:
        """Nearly all tokens prefer experts 0 and 1 by little; training brings the others into use."""
        adapter, x = awake(MixtureOfExperts), feature_map()
        with torch.no_grad():
            adapter.router.weight.mul_(0.02)
            adapter.router.weight[:, 0] = torch.tensor([0.02, 0.02, 0.0, 0.0])
            x[:, 0] = 3.0
        before = (adapter.route(x) > 0).double().mean(dim=(0, 2, 3))
        adapter.train()
        for _ in range(30):
            adapter.route(x)
        adapter.eval()
        after = (adapter.route(x) > 0).double().mean(dim=(0, 2, 3))
        assert before.max() - before.min() > 0.7
        assert after.max() - after.min() < 0.3
        assert adapter.balance[:2].max() < 0 < adapter.balance[2:].min()

    def test_balance_stands_still_outside_training(self) -> None:
        adapter = awake(MixtureOfExperts)
        adapter.route(feature_map())
        assert not adapter.balance.any()
