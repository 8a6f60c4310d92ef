"""What a network measures over the whole image, taken from one pass and used again in others.

A module that looks further than its own neighbourhood does so in a method of one of two names:

* ``measure(...)`` takes feature maps, (B, C, H, W), and gives means over their tokens, as a tensor or a named tuple of
  tensors. Where these are weighted means, ``log_mass(...)`` gives the logarithm of the weights' sum;
* ``survey(x)`` gives a coarse map of the image, (B, C, h, w), which the module stretches over its feature map: evenly,
  or as its attribute ``cells`` says.

With these fixed a network is a local operator: a part of an image, with a margin, gives the same pixels as the image.
And because they are means, those of an image follow from those of its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cea.models.adapters.cells import Cells

Statistics = dict[str, Any]
"""By the name of the module: what it measured."""

Measure = Callable[..., Any]

METHODS = ("measure", "survey")


class Window(NamedTuple):
    """A part of an image, as shares of the image's height and width."""

    top: float
    height: float
    left: float
    width: float


WHOLE = Window(top=0.0, height=1.0, left=0.0, width=1.0)


class Survey(NamedTuple):
    """A coarse map of an image.

    Attributes:
        coarse: (B, C, h, w).
        height, width: of the area under it, as shares of the image's; above 1 where its last cells reach beyond.
    """

    coarse: Tensor
    height: float
    width: float


def _survey(module: nn.Module, coarse: Tensor, x: Tensor) -> Survey:
    cells = getattr(module, "cells", None)
    return Survey(coarse, *(cells.extent(x.shape[-2:]) if isinstance(cells, Cells) else (1.0, 1.0)))


@contextmanager
def recorded(model: nn.Module, methods: Collection[str] = METHODS) -> Iterator[Statistics]:
    """Collect what the forward pass inside the block measures, by these ``methods``."""
    found: Statistics = {}

    def keeping(name: str, module: nn.Module, method: str) -> Measure:
        measure = getattr(module, method)

        def measured(*inputs: Any) -> Any:
            value = measure(*inputs)
            found[name] = _survey(module, value, *inputs) if method == "survey" else value
            return value

        return measured

    def wrap(name: str, module: nn.Module, method: str) -> Measure | None:
        return None if method not in methods else keeping(name, module, method)

    with _replaced(model, wrap):
        yield found


def averaged(statistics: Statistics) -> Statistics:
    """The mean over the images of the batch that they were recorded from, as of one image."""
    return {name: _mean(value) for name, value in statistics.items()}


def _mean(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.mean(0, keepdim=True)
    return type(value)(*map(_mean, value)) if isinstance(value, tuple) else value


class Inside(NamedTuple):
    """What of a part of an image is no other part's, as shares of its own height and width."""

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
    model: nn.Module, statistics: Statistics, window: Window, inside: Inside, found: Gathered
) -> Iterator[None]:
    """As ``reused``, while ``found`` takes up what the modules would measure on the ``inside`` of this part."""

    def gathering(name: str, module: nn.Module) -> Measure:
        measure, mass = getattr(module, "measure"), getattr(module, "log_mass", _log_tokens)  # noqa: B009 (mypy)

        def measured(*maps: Tensor) -> Any:
            own = [inside.of(x) for x in maps]
            fresh[name] = measure(*own), mass(*own)
            return statistics[name]

        return measured

    def wrap(name: str, module: nn.Module, method: str) -> Measure | None:
        if name not in statistics:
            return None
        return gathering(name, module) if method == "measure" else _fixed(statistics[name], method, window)

    fresh: Gathered = {}
    with _replaced(model, wrap):
        yield
    for name, (value, mass) in fresh.items():
        if name in found:
            _take_up(found[name], (value, mass))
        else:
            found[name] = _copied(value), mass.clone()


def merged(found: Gathered) -> Statistics:
    """What the modules measure on an image all of whose parts were gathered."""
    return {name: value for name, (value, _) in found.items()}


def _take_up(mean: tuple[Any, Tensor], part: tuple[Any, Tensor]) -> None:
    """In place: what is kept from tile to tile would lie scattered among large maps, and hold their memory."""
    total = torch.logaddexp(mean[1], part[1])
    _blend(mean[0], part[0], (mean[1] - total).exp(), (part[1] - total).exp())
    mean[1].copy_(total)


def _blend(mean: Any, part: Any, share: Tensor, other: Tensor) -> None:
    """``mean`` times ``share`` plus ``part`` times ``other``, which count for all dimensions that they lack."""
    if isinstance(mean, tuple):
        for own, new in zip(mean, part, strict=True):
            _blend(own, new, share, other)
    else:
        share, other = (one.reshape(one.shape + (1,) * (mean.ndim - one.ndim)) for one in (share, other))
        mean.mul_(share).add_(part * other)


def _copied(value: Any) -> Any:
    return type(value)(*map(_copied, value)) if isinstance(value, tuple) else value.clone()


def _log_tokens(x: Tensor, *_: Tensor) -> Tensor:
    return torch.tensor(float(x.shape[-2] * x.shape[-1]), device=x.device).log()


@contextmanager
def reused(model: nn.Module, statistics: Statistics, window: Window = WHOLE) -> Iterator[None]:
    """Inside the block ``model`` measures nothing, but uses ``statistics`` of an image, of which it is given a part.

    Args:
        model: the network that ``statistics`` were recorded from.
        statistics: from ``recorded``.
        window: which part of the image that is.
    """

    def wrap(name: str, module: nn.Module, method: str) -> Measure | None:
        return _fixed(statistics[name], method, window) if name in statistics else None

    with _replaced(model, wrap):
        yield


def _fixed(value: Any, method: str, window: Window) -> Measure:
    """A method that gives ``value`` whatever it is given."""
    if method == "survey":
        return lambda x: _within(value, window, x)
    return lambda *_: value


@contextmanager
def _replaced(model: nn.Module, wrap: Callable[[str, nn.Module, str], Measure | None]) -> Iterator[None]:
    """Call ``wrap(name, module, name of its measuring method)`` for a function to stand in the method's place."""
    replaced: list[tuple[nn.Module, str]] = []
    try:
        for name, module in model.named_modules():
            method = _measuring(module)
            function = wrap(name, module, method) if method else None
            if method and function:
                setattr(module, method, function)
                replaced.append((module, method))
        yield
    finally:
        for module, method in replaced:
            delattr(module, method)  # the instance's attribute: the class's method is there again


def _measuring(module: nn.Module) -> str | None:
    return next((name for name in METHODS if callable(getattr(module, name, None))), None)


def _within(survey: Survey, window: Window, x: Tensor) -> Tensor:
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
    found = F.grid_sample(coarse.float(), places, padding_mode="border", align_corners=False)
    return found.to(coarse.dtype).contiguous(memory_format=torch.channels_last)
