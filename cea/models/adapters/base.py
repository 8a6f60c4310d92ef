"""What an adapter is: a module that corrects a feature map by what it sees in the image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from cea.config import Config, parse
from cea.models.config import ModelConfig


class NoOptions(Config):
    """An adapter without keys of its own."""


class Adapter(nn.Module, ABC):
    """Corrects a feature map of ``channels`` channels. Subclasses are final and keep the shape.

    A new adapter starts as the identity, so that every adapter's network starts as the same network.

    What it sees beyond the neighbourhood of a token must come from a `cea.models.global_context.GlobalContext`: the
    adapter itself (``class Mine(Adapter, GlobalMeans)``) or a module of it, which measures means over the map, or a
    coarse map, and goes by ``self.context(x)``. Restoration in tiles takes it once for the whole image; an adapter
    that pools by other means gives each tile results of its own, which the conformance suite refuses.

    Args:
        channels: C, the channels of the feature map at this site.
        config: the model's configuration; an adapter reads the fields that concern it.

    Attributes:
        width_key: the key of ``ModelConfig`` that sets how many parameters this adapter has, and nothing else.
        Options: the adapter's own keys, ``model.adapter_options`` of params.yaml; None takes no notice of any.
        options: their values.
    """

    width_key: ClassVar[str] = "adapter_width"
    Options: ClassVar[type[Config] | None] = NoOptions

    @abstractmethod
    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.options: Any = self.Options and parse(self.Options, config.adapter_options, "model.adapter_options")

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""


class NoAdapter(Adapter):
    """The plain backbone: no correction. It gets more parameters by widening its blocks."""

    width_key = "expansion"
    Options = None  # it stands at the sites that another adapter, whose options these are, leaves out

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(channels, config)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` itself."""
        return x
