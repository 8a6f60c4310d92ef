"""Every registered adapter and block, found through the registries, against the contracts that ship with cea."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from cea.models.adapters.base import Adapter
from cea.models.adapters.registry import ADAPTERS
from cea.models.blocks.registry import BLOCKS
from cea.models.config import ModelConfig
from cea.models.global_context import GlobalMeans
from cea.testing.models import AdapterContract, BlockContract


def _register(title: str, contract: type, **facts: object) -> None:
    name = f"Test_{title.replace('-', '_')}"
    globals()[name] = type(name, (contract,), {**facts, "__module__": __name__})


HEADS = {"error_gate": True, "severity": ["noise", "low", "haze", "rain", "snow"], "severity_gate": True}

for _name in ADAPTERS:
    _register(f"adapter_{_name}", AdapterContract, name=_name)
    _register(f"adapter_{_name}_with_heads", AdapterContract, name=_name, keys=HEADS)
for _name in BLOCKS:
    _register(f"block_{_name}", BlockContract, name=_name)
_register("block_restormer_odd_expansion", BlockContract, name="restormer", expansion=2.66)
_register("adapter_cea_all_options", AdapterContract, name="cea", keys={"constant": True, "gain": True})
_register("adapter_cea_layernorm", AdapterContract, name="cea", keys={"affinity": "layernorm", "key_cell": 1})
_register("adapter_cea_cosine", AdapterContract, name="cea", keys={"affinity": "cosine", "residual_scale": 0.5})
_register("adapter_film_local_per_token", AdapterContract, name="film-local", keys={"local_cell": 1})
_register("adapter_moe_one_expert", AdapterContract, name="moe", keys={"top_k": 1}, bfloat16_tolerance=0.2)


class Broken(Adapter):
    """Everything an adapter must not do: it moves at the start, mixes images, is random, and has a dead parameter."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        self.dead = nn.Parameter(torch.ones(config.adapter_width))

    def forward(self, x: Tensor) -> Tensor:
        return x + x.mean(0, keepdim=True) + torch.rand(()) + 0 * self.dead.sum()


class BrokenContract(AdapterContract):
    name = f"{__name__}:Broken"

    def make(self) -> Adapter:
        return Broken(8, self.config())


@pytest.mark.parametrize(
    "test",
    [
        "test_starts_as_the_identity",
        "test_gradients_reach_every_parameter_and_the_input",
        "test_images_of_a_batch_do_not_see_each_other",
        "test_evaluation_is_deterministic_and_leaves_the_random_state_alone",
    ],
)
def test_the_contract_notices(test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(BrokenContract(), test)()


class Pooling(Adapter):
    """A plug-in that looks at the whole map without saying so."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)
        self.shift = nn.Parameter(torch.zeros(channels, config.adapter_width))

    def forward(self, x: Tensor) -> Tensor:
        return x + x.mean(dim=(2, 3), keepdim=True) * self.shift.sum(1)[:, None, None]


class Honest(Pooling, GlobalMeans):
    """The same by the rule."""

    def measure(self, *maps: Tensor) -> Tensor:
        return maps[0].mean(dim=(2, 3), keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.context(x) * self.shift.sum(1)[:, None, None]


@pytest.mark.parametrize(("plugin", "holds"), [(Pooling, False), (Honest, True)])
def test_a_plugin_that_pools_globally_elsewhere_fails_the_suite(plugin: type[Adapter], holds: bool):
    suite = AdapterContract()
    suite.name = f"{__name__}:{plugin.__name__}"  # type: ignore[misc]
    with nullcontext() if holds else pytest.raises(AssertionError, match="a part differs from the whole"):
        suite.test_tiles_equal_the_whole()
