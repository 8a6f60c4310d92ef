"""What every adapter and every backbone block must hold to, as tests that a plug-in inherits in two lines.

In a test file of the plug-in::

    from cea.testing.models import AdapterContract, BlockContract

    class TestMine(AdapterContract): name = "my_adapter:Mine"

This file is for tests only: it needs pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from cea.models.adapters.base import Adapter
from cea.models.adapters.registry import ADAPTERS
from cea.models.blocks.registry import BLOCKS
from cea.models.config import ModelConfig
from cea.models.global_context import TileWindow, recorded, reused
from cea.models.network import RestorationNetwork, build

SIZES = ((1, 1), (1, 9), (7, 2), (8, 8), (19, 33))
"""Heights and widths that a component must take; flat, tiny and odd ones break most code."""

CHANNELS = 8


def awake(module: nn.Module, scale: float = 0.2) -> Any:
    """``module`` with noise on every parameter, so that nothing is at its first, often zero, value."""
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw).to(parameter) * scale)
    return module.eval()


def feature_map(height: int = 9, width: int = 11, batch: int = 1) -> Tensor:
    """(batch, CHANNELS, height, width), normal, channels_last as inside a network."""
    draw = torch.Generator().manual_seed(8)
    return torch.randn(batch, CHANNELS, height, width, generator=draw).contiguous(memory_format=torch.channels_last)


class _ComponentContract:
    """What adapters and blocks have in common: they correct feature maps and keep their shape."""

    name: ClassVar[str]
    keys: ClassVar[Mapping[str, Any]] = {}
    """Further keys of ``ModelConfig`` to test with."""
    bfloat16_tolerance: ClassVar[float] = 0.03
    """Largest relative error in bfloat16; more for components that choose, because a near tie may tip."""

    def config(self) -> ModelConfig:
        """A small network with this component."""
        raise NotImplementedError

    def make(self) -> nn.Module:
        """The component for ``CHANNELS`` channels, at its first weights (the same at each call)."""
        raise NotImplementedError

    def network(self) -> RestorationNetwork:
        """A small network whose every weight is random."""
        network: RestorationNetwork = awake(build(self.config()), 0.05)
        return network

    @pytest.mark.parametrize("size", SIZES)
    def test_any_size(self, size: tuple[int, int]) -> None:
        x = feature_map(*size, batch=2)
        y = awake(self.make())(x)
        assert y.shape == x.shape
        assert y.isfinite().all()
        image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
        assert self.network()(image).shape == image.shape

    def test_output_keeps_the_memory_layout(self) -> None:
        assert awake(self.make())(feature_map()).is_contiguous(memory_format=torch.channels_last)

    def test_input_is_left_alone(self) -> None:
        x = feature_map()
        before = x.clone()
        awake(self.make())(x)
        assert torch.equal(x, before)

    def test_gradients_reach_every_parameter_and_the_input(self) -> None:
        component, x = awake(self.make()).train(), feature_map(12, 12, batch=2).requires_grad_()
        weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        (component(x) * weights).sum().backward()
        for name, tensor in [("input", x), *component.named_parameters()]:
            assert tensor.grad is not None, f"{name}: no gradient"
            assert tensor.grad.isfinite().all(), f"{name}: gradient not finite"
            assert tensor.grad.abs().max() > 0, f"{name}: gradient is zero"

    def test_first_step_moves_it(self) -> None:
        component, x = self.make().train(), feature_map(batch=2)
        parameters = list(component.parameters())
        if parameters:
            (component(x) * feature_map(batch=2).roll(1, 1)).sum().backward()
            assert any(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in parameters)

    def test_state_goes_through_a_file(self) -> None:
        trained, fresh, x = awake(self.make()), self.make().eval(), feature_map()
        fresh.load_state_dict({name: tensor.clone() for name, tensor in trained.state_dict().items()})
        assert torch.equal(fresh(x), trained(x))

    def test_images_of_a_batch_do_not_see_each_other(self) -> None:
        component, x = awake(self.make()), feature_map(batch=3)
        torch.testing.assert_close(component(x)[1:2], component(x[1:2]))

    def test_evaluation_is_deterministic_and_leaves_the_random_state_alone(self) -> None:
        component, x = awake(self.make()), feature_map()
        state = torch.random.get_rng_state()
        first, second = component(x), component(x)
        assert torch.equal(first, second)
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_evaluation_does_not_change_the_state(self) -> None:
        component = awake(self.make())
        before = {name: tensor.clone() for name, tensor in component.state_dict().items()}
        component(feature_map())
        assert all(torch.equal(tensor, before[name]) for name, tensor in component.state_dict().items())

    def test_tiles_equal_the_whole(self) -> None:
        """With what the network measures over the whole image given, it is local: a part gives the image's pixels.

        Where this fails, the component pools over its map by other means than a
        `cea.models.global_context.GlobalContext`, and would restore each tile of a photograph differently.
        """
        network = self.network().double()
        image = torch.rand(1, 3, 128, 136, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        with torch.no_grad(), recorded(network) as statistics:
            whole = network.judged(image)
        with torch.no_grad(), reused(network, statistics, TileWindow(24 / 128, 104 / 128, 16 / 136, 120 / 136)):
            shifted = network.judged(image[..., 24:, 16:])
        changed = (whole.restored - image).abs().mean()
        for part, complete in zip(shifted, whole, strict=True):
            if part is None or complete is None:
                continue  # a head that this network lacks
            cell = image.shape[-1] // complete.shape[-1]
            inner = slice(72 // cell, None)
            difference = (part - complete[..., 24 // cell :, 16 // cell :])[..., inner, inner].abs().max()
            assert difference < 1e-4 * changed, f"a part differs from the whole by {difference:.2g}"

    def test_bfloat16_agrees(self) -> None:
        x = feature_map() / 2
        exact = awake(self.make())(x)
        rough = awake(self.make()).bfloat16()(x.bfloat16()).float()
        assert (rough - exact).norm() / exact.norm() < self.bfloat16_tolerance

    def test_compiles_without_graph_breaks(self, compiler: None) -> None:
        component, x = awake(self.make()), feature_map()
        compiled: Callable[[Tensor], Tensor] = torch.compile(component, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), component(x))
        assert not torch._dynamo.utils.counters["graph_break"]

    def test_exports_whole(self, compiler: None) -> None:
        component, x = awake(self.make()), feature_map()
        exported = torch.export.export(component, (x,)).module()
        torch.testing.assert_close(exported(x), component(x))

    @pytest.fixture
    def compiler(self) -> Iterator[None]:
        """Empty the cache of `torch.compile` before and after the test, so that no other test's graphs count."""
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        yield
        torch._dynamo.reset()


class AdapterContract(_ComponentContract):
    """Subclass it, name the adapter, and pytest runs every test here on it."""

    def config(self) -> ModelConfig:
        """A small network with this adapter at every site."""
        values = {"width": CHANNELS, "rank": 4, "hyper_width": 8, "adapter_width": 6, "key_cell": 2, "local_cell": 2}
        sites = ["encoder", "middle", "decoder"]
        return ModelConfig.model_validate({**values, "sites": sites, **self.keys, "adapter": self.name})

    def make(self) -> Adapter:
        """The adapter alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return ADAPTERS[self.name](CHANNELS, self.config())

    def test_is_an_adapter(self) -> None:
        """The registry holds classes of the right kind."""
        assert isinstance(self.make(), Adapter)

    def test_starts_as_the_identity(self) -> None:
        """All comparisons start from the same network."""
        x = feature_map(batch=2)
        assert torch.equal(self.make()(x), x)

    def test_backbone_starts_as_with_any_other_adapter(self) -> None:
        """An adapter draws its weights from streams of its own."""
        plain = build(self.config().model_copy(update={"adapter": "none"})).state_dict()
        adapted = build(self.config()).state_dict()
        assert all(torch.equal(plain[name], adapted[name]) for name in plain)

    def test_width_key_sets_the_parameters(self) -> None:
        """Matching of parameters can work."""
        key = ADAPTERS[self.name].width_key
        narrow = self.config()
        wide = ModelConfig.model_validate(narrow.model_dump() | {key: 2 * getattr(narrow, key)})
        few, many = (sum(p.numel() for p in RestorationNetwork(config).parameters()) for config in (narrow, wide))
        assert few < many


class BlockContract(_ComponentContract):
    """Subclass it, name the block, and pytest runs every test here on it."""

    expansion: ClassVar[float] = 2.0

    def config(self) -> ModelConfig:
        """A small plain network of this block."""
        values = {"width": CHANNELS, "adapter": "none", "expansion": self.expansion}
        return ModelConfig.model_validate({**values, **self.keys, "block": self.name})

    def make(self) -> nn.Module:
        """The block alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return BLOCKS[self.name](CHANNELS, self.expansion)

    def test_expansion_sets_the_parameters(self) -> None:
        """The plain backbone can be widened to equal parameters."""
        few, many = (
            sum(p.numel() for p in BLOCKS[self.name](CHANNELS, expansion).parameters()) for expansion in (1.5, 3.0)
        )
        assert few < many
