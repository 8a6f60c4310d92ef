"""The network as programs of ``torch.export``, for any size: the whole image, what it measures, and a tile with that.

A network looks at the whole image in a few places (the experts of CEA, channel attention). ``measure`` gives what it
sees there, and ``tile`` restores a part of the image with that in use: a tile knows its image.

Sizes are multiples of the network's ``size_multiple``. Images are padded outside, by repeating their edge: a padding
that depends on the size would fix the size.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.utils import _pytree as pytree

from cea.errors import ConfigError, brief
from cea.models.global_context import Statistics, recorded, reused
from cea.models.network import RestorationNetwork

SMALLEST = 2
"""Smallest height and width of the programs, in multiples of the network's."""

_LARGEST = 4096
"""Likewise the largest."""


class Measure(nn.Module):
    """(B, 3, H, W) to what the network measures over the whole image, tensors in the order of its modules."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The statistics, (B, ...) each."""
        with recorded(self.network) as measured:
            self.network(image)
        return tuple(pytree.tree_leaves(measured))


class Tile(nn.Module):
    """A tile (B, 3, h, w) and the statistics of its image to the restored tile.

    Args:
        network: the network.
        structure: which module gets which of the tensors of `Measure`.
    """

    def __init__(self, network: nn.Module, structure: pytree.TreeSpec) -> None:
        super().__init__()
        self.network, self.structure = network, structure

    def forward(self, image: Tensor, *measured: Tensor) -> Tensor:
        """The same shape as ``image``."""
        with reused(self.network, pytree.tree_unflatten(list(measured), self.structure)):
            restored: Tensor = self.network(image)
        return restored


@dataclass(frozen=True)
class Graph:
    """One program.

    Attributes:
        name: ``whole``, ``measure`` or ``tile``.
        module: what it computes, in PyTorch.
        program: the same, exported.
        inputs, outputs: their names, the same for what ``measure`` gives and ``tile`` takes.
    """

    name: str
    module: nn.Module
    program: ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def graphs(network: RestorationNetwork) -> Iterator[Graph]:
    """``whole``, then ``measure`` and ``tile``, as each is ready; batch, height and width are free.

    A network that measures nothing, or maps (whose place in the image a tile would have to know), has ``whole`` only.

    Raises:
        ConfigError: the network has a part that cannot be exported.
    """
    image = torch.rand(2, 3, 8 * network.size_multiple, 9 * network.size_multiple)  # one image would fix the batch
    batch = Dim("batch")
    rows, columns = (Dim(name, min=SMALLEST, max=_LARGEST) * network.size_multiple for name in ("rows", "columns"))
    free = {0: batch, 2: rows, 3: columns}
    yield Graph("whole", network, _exported(network, (image,), (free,)), ("image",), ("restored",))
    statistics = _statistics(network, image)
    leaves, structure = pytree.tree_flatten(statistics)
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        return
    names = _names(statistics)
    measure, tile = Measure(network).eval(), Tile(network, structure).eval()
    yield Graph("measure", measure, _exported(measure, (image,), (free,)), ("image",), names)
    each = tuple({0: batch} for _ in leaves)
    yield Graph("tile", tile, _exported(tile, (image, *leaves), (free, each)), ("image", *names), ("restored",))


def _statistics(network: nn.Module, image: Tensor) -> Statistics:
    with torch.no_grad(), recorded(network) as statistics:
        network(image)
    return statistics


def _names(statistics: Mapping[str, Any]) -> tuple[str, ...]:
    """A name for each tensor: its module's, and a number where a module has several."""
    names = []
    for module, value in statistics.items():
        count = len(pytree.tree_leaves(value))
        names += [module] if count == 1 else [f"{module}.{number}" for number in range(count)]
    return tuple(names)


def _exported(module: nn.Module, inputs: tuple[Tensor, ...], free: tuple[Any, ...]) -> ExportedProgram:
    with _explained():
        program = export(module, inputs, dynamic_shapes=free)
        # attention of three dimensions has no counterpart in ONNX; its parts have
        return program.run_decompositions()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of PyTorch, about calls of its own
            yield
    except Exception as error:  # somebody's adapter or block fails in any way
        raise ConfigError(
            f"this network cannot be exported ({brief(error)})",
            expected="adapters and blocks whose computation does not depend on the image's values or size",
            remedy="export weights of another adapter or block",
        ) from error
