"""CEA's options, its memory, and the network under PyTorch's compilers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from test_adapter_cea import C, R, random_adapter, random_experts, random_map
from torch import Tensor

from cea.models.adapters.cea import ContinuousExpertAssembly, Experts, as_tokens
from cea.models.config import ModelConfig
from cea.models.measure.stopwatch import forward_job, peak_bytes
from cea.models.network import RestorationNetwork, build
from cea.testing.models import awake

CPU = torch.device("cpu")


def experts_with(*, constant: bool = False, gain: bool = False) -> Experts:
    draw = torch.Generator().manual_seed(300)
    experts = random_experts()
    constants = torch.randn(2, R, generator=draw, dtype=torch.float64) if constant else None
    gains = torch.randn(2, R, C, generator=draw, dtype=torch.float64) if gain else None
    return experts._replace(constants=constants, gains=gains)


class TestOptions:
    def test_constant_in_three_readings(self) -> None:
        """With a constant the merged weight becomes an affine map: X (A^T D) + c^T D."""
        x, experts = random_map(), experts_with(constant=True)
        a, d, c, _ = experts
        assert c is not None
        tokens = as_tokens(x)
        routed = torch.zeros_like(tokens)
        for k in range(R):
            affinity = (tokens * a[:, k, None, :]).sum(-1, keepdim=True) + c[:, k, None, None]
            routed += affinity * d[:, k, None, :]
        ones = torch.ones_like(tokens[..., :1])  # linear attention whose queries and keys have one more channel
        attended = torch.cat([tokens, ones], -1) @ torch.cat([a, c[..., None]], -1).transpose(1, 2) @ d
        merged = tokens @ (a.transpose(1, 2) @ d) + c[:, None] @ d
        assembled = as_tokens(random_adapter().assemble(x, experts))
        for reading in (routed, attended, merged):
            torch.testing.assert_close(assembled, reading, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("constant", [False, True])
    def test_gain_scales_and_shifts(self, constant: bool) -> None:
        """dX = X * (S G) + S D, written out for each token and expert."""
        x, experts = random_map(), experts_with(constant=constant, gain=True)
        tokens, expected = as_tokens(x), torch.zeros_like(as_tokens(x))
        assert experts.gains is not None
        for k in range(R):
            affinity = (tokens * experts.routing[:, k, None]).sum(-1, keepdim=True)
            if experts.constants is not None:
                affinity = affinity + experts.constants[:, k, None, None]
            expected += affinity * (tokens * experts.gains[:, k, None] + experts.directions[:, k, None])
        assembled = as_tokens(random_adapter().assemble(x, experts))
        torch.testing.assert_close(assembled, expected, rtol=0, atol=1e-12)

    def test_one_token_by_hand(self) -> None:
        """x = (2, 1), a = (1, 0), c = 3, so s = 5; d = (1, 0), g = (0, 2): dx = (2*0*5 + 5, 1*2*5 + 0)."""
        x = torch.tensor([2.0, 1.0]).reshape(1, 2, 1, 1).double()
        a, d, g = (torch.tensor([[row]]).double() for row in ([1.0, 0.0], [1.0, 0.0], [0.0, 2.0]))
        experts = Experts(a, d, torch.tensor([[3.0]]).double(), g)
        assert random_adapter().assemble(x, experts).flatten().tolist() == [5.0, 10.0]

    def test_zero_constants_and_gains_change_nothing(self) -> None:
        x, plain = random_map(), random_experts()
        zero = plain._replace(constants=torch.zeros(2, R).double(), gains=torch.zeros(2, R, C).double())
        adapter = random_adapter()
        torch.testing.assert_close(adapter.assemble(x, zero), adapter.assemble(x, plain), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("options", [{"constant": True}, {"gain": True}, {"constant": True, "gain": True}])
    def test_symmetries(self, options: dict[str, bool]) -> None:
        adapter, x = random_adapter(**options), random_map()
        shuffled = adapter(x.flip(2, 3)).flip(2, 3)
        torch.testing.assert_close(shuffled, adapter(x), rtol=0, atol=1e-12)
        before = adapter(x)
        with torch.no_grad():
            adapter.hyper.queries.copy_(adapter.hyper.queries.roll(2, 0))
        torch.testing.assert_close(adapter(x), before, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("options", [{"constant": True}, {"gain": True, "residual_scale": 0.125}])
    def test_gradients(self, options: dict[str, object]) -> None:
        adapter = random_adapter(**options)
        x = random_map(batch=1, size=(2, 3)).requires_grad_()
        names, values = zip(*adapter.named_parameters(), strict=True)

        def run(x: Tensor, *parameters: Tensor) -> Tensor:
            return torch.func.functional_call(adapter, dict(zip(names, parameters, strict=True)), (x,))

        assert torch.autograd.gradcheck(run, (x, *values))

    @pytest.mark.parametrize("scale", [1.0, 0.5])
    def test_residual_scale_covers_shift_and_gain(self, scale: float) -> None:
        x, options = random_map(), {"constant": True, "gain": True}
        once = random_adapter(**options)(x) - x
        scaled = random_adapter(**options, residual_scale=scale)(x) - x
        torch.testing.assert_close(scaled, scale * once)

    def test_options_are_off_and_cost_nothing_by_default(self) -> None:
        names = {name for name, _ in ContinuousExpertAssembly(C, ModelConfig()).named_parameters()}
        assert not any("constant" in name or "gain" in name for name in names)


class TestFusion:
    @pytest.mark.parametrize("kind", ["dot", "layernorm", "cosine"])
    def test_fused_addition_is_the_assembly(self, kind: str) -> None:
        adapter, x = random_adapter(affinity=kind, constant=True, residual_scale=0.3), random_map()
        expected = x + adapter.assemble(x, adapter.hyper(x))
        torch.testing.assert_close(adapter(x), expected, rtol=0, atol=1e-12)

    def test_autocast_does_not_round_the_token(self) -> None:
        """Residuals may be rough, what they are added to may not: the identity stays exact."""
        adapter, x = ContinuousExpertAssembly(C, ModelConfig()), random_map().float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(adapter(x), x)


class TestMemory:
    @pytest.mark.slow
    @pytest.mark.parametrize("cell", [1, 4])
    def test_memory_is_linear_up_to_a_million_tokens(self, cell: int) -> None:
        """A C x C weight per token, or attention of all tokens to all, would take gigabytes."""
        channels, rank = 16, 8
        config = ModelConfig(rank=rank, key_cell=cell)
        adapter = ContinuousExpertAssembly(channels, config).eval()
        peaks = {}
        for side in (128, 1024):
            x = torch.randn(1, channels, side, side).contiguous(memory_format=torch.channels_last)
            peaks[side] = peak_bytes(forward_job(adapter, x), CPU)
        token = 4 * (channels + rank)  # bytes: the output, and r coefficients
        token += 4 * 2 * config.hyper_width // cell**2  # keys and values
        assert peaks[1024] < 1024**2 * token * 1.1
        assert peaks[1024] / peaks[128] == pytest.approx(64, rel=0.1)

    def test_a_grid_bounds_the_keys_whatever_the_image(self) -> None:
        hyper = ContinuousExpertAssembly(16, ModelConfig(key_grid=8)).eval().hyper
        peaks = [
            peak_bytes(forward_job(hyper, torch.randn(1, 16, side, side).to(memory_format=torch.channels_last)), CPU)
            for side in (64, 256)
        ]
        assert peaks[1] < 1.1 * peaks[0]


@pytest.fixture
def compiler() -> Iterator[None]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def network(**changes: object) -> RestorationNetwork:
    values = {"width": 8, "rank": 4, "encoder_blocks": [1], "decoder_blocks": [1]} | changes
    return awake(build(ModelConfig.model_validate(values)), 0.05)


def image(height: int = 12, width: int = 20) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.usefixtures("compiler")
class TestCompilers:
    @pytest.mark.parametrize("block", ["nafnet", "restormer"])
    @pytest.mark.slow
    def test_network_compiles_as_one_graph(self, block: str) -> None:
        model = network(block=block)
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(image()), model(image()))
        compiled(image()).mean().backward()  # the backward graph, too
        assert not torch._dynamo.utils.counters["graph_break"]
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1

    @pytest.mark.parametrize("block", ["nafnet", "restormer"])
    def test_network_exports_with_padding(self, block: str) -> None:
        model = network(block=block)
        exported = torch.export.export(model, (image(13, 18),)).module()
        torch.testing.assert_close(exported(image(13, 18)), model(image(13, 18)))

    @pytest.mark.slow
    @pytest.mark.parametrize("keys", [{}, {"key_cell": 4}, {"key_grid": 3}, {"adapter": "film-local"}])
    def test_export_of_any_batch_and_size(self, keys: dict[str, object]) -> None:
        """One exported program for all images whose sides are multiples of the network's."""
        model = network(**keys)
        multiple = model.size_multiple
        batch, rows, columns = (torch.export.Dim(name, min=low) for name, low in (("b", 2), ("h", 5), ("w", 5)))
        dynamic = ({0: batch, 2: multiple * rows, 3: multiple * columns},)
        program = torch.export.export(model, (image(32, 40).repeat(2, 1, 1, 1),), dynamic_shapes=dynamic).module()
        other = image(48, 24).repeat(3, 1, 1, 1)
        torch.testing.assert_close(program(other), model(other))
