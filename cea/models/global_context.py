"""What a network measures over the whole image, taken from one pass and used again in others.

A module that looks further than its own neighbourhood is a `GlobalMeans` or a `GlobalMap`, and takes what it sees from
``self.context(...)``. With all contexts fixed a network is a local operator: a part of an image, with a margin, gives
the same pixels as the image. And because they are means, those of an image follow from those of its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Statistics = dict[str, Any]
"""By the name of the module: what it measured."""

Measure = Callable[..., Any]


class GlobalContext(nn.Module):
    """A module that sees the whole image; subclass `GlobalMeans` or `GlobalMap`.

    Attributes:
        source: stands in for ``measure`` while an image is restored in tiles; None otherwise.
    """

    source: Measure | None = None

    def measure(self, *maps: Tensor) -> Any:
        """Compute the global statistics of feature maps, (B, C, H, W) each."""
        raise NotImplementedError

    def context(self, *maps: Tensor) -> Any:
        """The statistics to use: measured on ``maps``, or those of the whole image where ``source`` has them."""
        return self.measure(*maps) if self.source is None else self.source(*maps)


class GlobalMeans(GlobalContext):
    """``measure`` gives means over the tokens of its maps, as a tensor or a named tuple of tensors."""

    def log_mass(self, *maps: Tensor) -> Tensor:
        """Logarithm of the sum of the weights of these means; to be overridden where tokens do not count alike."""
        return torch.tensor(float(maps[0].shape[-2] * maps[0].shape[-1]), device=maps[0].device).log()


class GlobalMap(GlobalContext):
    """``measure`` gives a coarse map of the image, (B, C, h, w), which the module stretches over its feature map."""

    def extent(self, shape: torch.Size) -> tuple[float, float]:
        """Height and width of the area under the coarse map, as shares of a feature map (H, W): all of it."""
        return 1.0, 1.0


class TileWindow(NamedTuple):
    """A part of an image, as shares of the image's height and width."""

    top: float
    height: float
    left: float
    width: float


WHOLE = TileWindow(top=0.0, height=1.0, left=0.0, width=1.0)


class Survey(NamedTuple):
    """A coarse map of an image.

    Attributes:
        coarse: (B, C, h, w).
        height, width: of the area under it, as shares of the image's; above 1 where its last cells reach beyond.
    """

    coarse: Tensor
    height: float
    width: float


def _survey(module: GlobalMap, coarse: Tensor, x: Tensor) -> Survey:
    return Survey(coarse, *module.extent(x.shape[-2:]))


@contextmanager
def recorded(model: nn.Module, kind: type[GlobalContext] = GlobalContext) -> Iterator[Statistics]:
    """Collect what the modules of ``kind`` measure in the forward pass inside the block."""
    statistics: Statistics = {}

    def keeping(name: str, module: GlobalContext) -> Measure:
        def measured(*maps: Tensor) -> Any:
            value = module.measure(*maps)
            statistics[name] = _survey(module, value, *maps) if isinstance(module, GlobalMap) else value
            return value

        return measured

    with _sources(model, lambda name, module: keeping(name, module) if isinstance(module, kind) else None):
        yield statistics


def averaged(statistics: Statistics) -> Statistics:
    """The mean over the images of the batch that they were recorded from, as of one image."""
    return {name: _mean(value) for name, value in statistics.items()}


def _mean(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.mean(0, keepdim=True)
    return type(value)(*map(_mean, value)) if isinstance(value, tuple) else value


class Inside(NamedTuple):
    """The non-overlapping core of a tile, as shares of its own height and width."""

    top: float
    bottom: float
    left: float
    right: float

    def of(self, x: Tensor) -> Tensor:
        """Of a feature map of the part, (B, C, H, W)."""
        height, width = x.shape[-2:]
        rows = slice(round(self.top * height), round(self.bottom * height))
        return x[..., rows, round(self.left * width) : round(self.right * width)]


Gathered = dict[str, tuple[Any, Tensor]]
"""By the name of the module: the mean over the parts so far, and the logarithm of what they count for."""


@contextmanager
def gathered(
    model: nn.Module, statistics: Statistics, window: TileWindow, inside: Inside, gathered: Gathered
) -> Iterator[None]:
    """As ``reused``, while ``gathered`` takes up what the modules would measure on the ``inside`` of this part."""
    fresh: Gathered = {}

    def gathering(name: str, module: GlobalMeans) -> Measure:
        def measured(*maps: Tensor) -> Any:
            own = [inside.of(x) for x in maps]
            fresh[name] = module.measure(*own), module.log_mass(*own)
            return statistics[name]

        return measured

    def source(name: str, module: GlobalContext) -> Measure | None:
        if name not in statistics:
            return None
        return gathering(name, module) if isinstance(module, GlobalMeans) else _fixed(module, statistics[name], window)

    with _sources(model, source):
        yield
    for name, (value, mass) in fresh.items():
        if name in gathered:
            _accumulate(gathered[name], (value, mass))
        else:
            gathered[name] = _copied(value), mass.clone()


def merged(gathered: Gathered) -> Statistics:
    """What the modules measure on an image all of whose parts were gathered."""
    return {name: value for name, (value, _) in gathered.items()}


def _accumulate(mean: tuple[Any, Tensor], addend: tuple[Any, Tensor]) -> None:
    """In place: what is kept from tile to tile would lie scattered among large maps, and hold their memory."""
    total = torch.logaddexp(mean[1], addend[1])
    _blend(mean[0], addend[0], (mean[1] - total).exp(), (addend[1] - total).exp())
    mean[1].copy_(total)


def _blend(mean: Any, addend: Any, share: Tensor, other: Tensor) -> None:
    """``mean`` times ``share`` plus ``addend`` times ``other``, which count for all dimensions that they lack."""
    if isinstance(mean, tuple):
        for own, new in zip(mean, addend, strict=True):
            _blend(own, new, share, other)
    else:
        share, other = (one.reshape(one.shape + (1,) * (mean.ndim - one.ndim)) for one in (share, other))
        mean.mul_(share).add_(addend * other)


def _copied(value: Any) -> Any:
    return type(value)(*map(_copied, value)) if isinstance(value, tuple) else value.clone()


@contextmanager
def reused(model: nn.Module, statistics: Statistics, window: TileWindow = WHOLE) -> Iterator[None]:
    """Inside the block ``model`` measures nothing, but uses ``statistics`` of an image, of which it is given a part.

    Args:
        model: the network that ``statistics`` were recorded from.
        statistics: from ``recorded``.
        window: which part of the image that is.
    """

    def source(name: str, module: GlobalContext) -> Measure | None:
        return _fixed(module, statistics[name], window) if name in statistics else None

    with _sources(model, source):
        yield


def _fixed(module: GlobalContext, value: Any, window: TileWindow) -> Measure:
    """A source that gives ``value`` whatever it is given."""
    if isinstance(module, GlobalMap):
        return lambda x: _within(value, window, x)
    return lambda *_: value


@contextmanager
def _sources(model: nn.Module, source: Callable[[str, GlobalContext], Measure | None]) -> Iterator[None]:
    """Inside the block each context goes by ``source(name, module)``, where that is not None."""
    given: list[GlobalContext] = []
    try:
        for name, module in model.named_modules():
            if isinstance(module, GlobalContext) and (measure := source(name, module)) is not None:
                module.source = measure
                given.append(module)
        yield
    finally:
        for module in given:
            del module.source  # the instance's: the class says None


def _within(survey: Survey, window: TileWindow, x: Tensor) -> Tensor:
    """The window of a coarse map, interpolated bilinearly to the size of ``x``.

    For the whole image it is what `cea.models.adapters.cells.Cells.stretched` gives.
    """
    across, down = (
        2 * (start + extent * (torch.arange(size, device=x.device, dtype=torch.float32) + 0.5) / size) / covered - 1
        for start, extent, size, covered in (
            (window.left, window.width, x.shape[-1], survey.width),
            (window.top, window.height, x.shape[-2], survey.height),
        )
    )
    coarse = survey.coarse
    places = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)[None].expand(coarse.shape[0], -1, -1, -1)
    interpolated = F.grid_sample(coarse.float(), places, padding_mode="border", align_corners=False)
    return interpolated.to(coarse.dtype).contiguous(memory_format=torch.channels_last)
