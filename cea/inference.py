"""From an image to its restoration, whole or in tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cea.errors import ConfigError
from cea.models.global_context import (
    Gathered,
    GlobalMeans,
    Inside,
    Statistics,
    TileWindow,
    averaged,
    gathered,
    merged,
    recorded,
    reused,
)
from cea.models.network import ERROR_UNIT, Judged
from cea.models.tensors import check_shape, image_tensor
from cea.types import Image, ImageF, Map

OVERLAP = 64
"""Pixels that neighbouring tiles share: a quarter on each side is discarded, the half between is blended linearly."""

SMALLEST_TILE = 2 * OVERLAP

DEFAULT_TILE = 512
"""Side of a tile in pixels by default."""

WHOLE_PIXELS = 2_100_000
"""Images of up to this many pixels (1920 x 1080 among them) are restored whole by default."""


def restore(
    model: nn.Module,
    image: Image,
    *,
    tile: int | None = None,
    parts: int | None = None,
    step: Callable[[int, int], None] | None = None,
) -> ImageF:
    """Restore one image.

    An image in tiles is restored in three steps:

    1. What the network measures over the whole image (the experts of CEA, channel attention) is measured on every k-th
       pixel of every k-th row: k = 2, or more where that would exceed four tiles. Skipping pixels keeps the noise as
       strong as it is; averaging them would not.
    2. With these values in use, each tile measures at full resolution. The image's values are the weighted means.
    3. Each tile is restored with the image's values, and the tiles are blended.

    Memory is that of one tile, beside the input and the output; time that of two restorations.

    Args:
        model: a network from ``cea.models`` (evaluated in its own precision, on its own device).
        image: (H, W, 3) RGB; uint8, uint16 (full range), or float in [0, 1].
        tile: side of the tiles in pixels, rounded up to what the network can divide; None for the whole image at once.
        parts: take global values as the mean over parts of this side in pixels (at most 64, spread over the image), as
            if each were a training patch; None takes them over the whole image. Helps where a network has only seen
            patches and an image much larger than these misleads it; measure it (``benchmarks/tiling.py shift``).
        step: called with the passes of the network that are done, and how many there are, at the start and after each.

    Returns:
        (H, W, 3) float32 in [0, 1]. No pixel is lost, whatever the size.

    Raises:
        ImageError: another shape or dtype, an empty image, NaN, or floats outside [0, 1].
        ConfigError: ``tile`` below ``SMALLEST_TILE``, or ``parts`` below 1.
    """
    return _restore(model, image, tile, parts, step, None)


class Estimates(NamedTuple):
    """What a network makes of an image beside its restoration, for each cell of its stem.

    Attributes:
        severity: by component, (h, w) float32 in [0, 1]; empty for a network without a severity head.
        error: (h, w) float32, the mean absolute error that the network expects of the image there, full scale 1; None
            for a network without an error gate.
        cell: side of a cell in pixels; h and w are the image's height and width over it, rounded up.
    """

    severity: dict[str, Map]
    error: Map | None
    cell: int = 1


def restore_judged(
    model: nn.Module,
    image: Image,
    *,
    tile: int | None = None,
    parts: int | None = None,
    step: Callable[[int, int], None] | None = None,
) -> tuple[ImageF, Estimates]:
    """As `restore`, and what the network makes of the image; tiles of maps are blended as those of pixels are."""
    heads = _Heads(model, image.shape[:2])
    return _restore(model, image, tile, parts, step, heads), heads.estimates()


def _restore(
    model: nn.Module,
    image: Image,
    tile: int | None,
    parts: int | None,
    step: Callable[[int, int], None] | None,
    heads: _Heads | None,
) -> ImageF:
    check_shape(image)
    if tile is not None and tile < SMALLEST_TILE:
        raise ConfigError(
            f"tile = {tile}", expected=f"at least {SMALLEST_TILE} pixels", remedy="pass larger tiles, or none"
        )
    if parts is not None and parts < 1:
        raise ConfigError(f"parts = {parts}", expected="at least 1 pixel", remedy="pass the side of training patches")
    with _evaluating(model):
        fixed = _measured_in_parts(model, image, parts) if parts else {}
        if tile is None or max(image.shape[:2]) <= tile:
            told = _Steps(step, 1)
            with reused(model, fixed):
                restored = _run(model, image, heads)
            told.done()
            return restored
        return _restore_tiles(model, image, tile, fixed, step, heads)


def tile_for(image: Image, wanted: int | None = None) -> int | None:
    """The ``tile`` for ``restore``: as wanted (0: the whole image), else tiles above ``WHOLE_PIXELS``."""
    if wanted is not None:
        return wanted or None
    return DEFAULT_TILE if image.shape[0] * image.shape[1] > WHOLE_PIXELS else None


class _Heads:
    """Gathers the maps of a network's heads over an image, tile by tile.

    Args:
        model: the network; one without heads leaves nothing to gather.
        size: height and width of the image in pixels.
    """

    def __init__(self, model: nn.Module, size: tuple[int, int]) -> None:
        self._size = size
        self._names: tuple[str, ...] = getattr(getattr(model, "config", None), "severity", ())
        self._multiple = _multiple(model)
        self._maps: NDArray[np.float32] | None = None
        self._cell = 1

    def add(self, judged: Judged, tile: _Tile | None) -> None:
        """Take up the maps of a tile, or of the whole image."""
        heads = [judged.severity_logits, judged.log_error]
        maps = [head[0].float() for head in heads if head is not None]
        if not maps:
            return
        if judged.severity_logits is not None:
            maps[0] = maps[0].sigmoid()
        if judged.log_error is not None:
            maps[-1] = maps[-1].exp() * ERROR_UNIT
        stacked = torch.cat(maps).cpu().numpy()
        height, width = self._size if tile is None else tile.weight.shape[:2]
        self._cell = ceil(height / self._multiple) * self._multiple // stacked.shape[1]
        own = stacked[:, : ceil(height / self._cell), : ceil(width / self._cell)]
        if tile is None:
            self._maps = own
            return
        if self._maps is None:
            self._maps = np.zeros((len(own), *(ceil(side / self._cell) for side in self._size)), np.float32)
        top, left = (place.start // self._cell for place in tile.place)
        self._maps[:, top : top + own.shape[1], left : left + own.shape[2]] += own * self._cells(tile.weight[..., 0])

    def estimates(self) -> Estimates:
        """All that was gathered."""
        if self._maps is None:
            return Estimates({}, None)
        severity = dict(zip(self._names, self._maps, strict=False))
        return Estimates(severity, self._maps[-1] if len(self._maps) > len(severity) else None, self._cell)

    def _cells(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """Means of (H, W) weights over cells; the last cells repeat the edge, as the network's input does."""
        padded = np.pad(weight, [(0, -side % self._cell) for side in weight.shape], mode="edge")
        rows, columns = (side // self._cell for side in padded.shape)
        means: NDArray[np.float32] = padded.reshape(rows, self._cell, columns, self._cell).mean(axis=(1, 3))
        return means


def _run(model: nn.Module, image: Image, heads: _Heads | None, tile: _Tile | None = None) -> ImageF:
    """The network's restoration of an image or tile; its heads' maps go to ``heads``, where they are wanted."""
    inputs = _on_device(model, image)
    if heads is None or not hasattr(model, "judged"):
        return _as_image(model(inputs))
    judged: Judged = model.judged(inputs)  # type: ignore[operator]
    heads.add(judged, tile)
    return _as_image(judged.restored)


class _Steps:
    """Counts what is done, for whoever wants to know."""

    def __init__(self, step: Callable[[int, int], None] | None, total: int) -> None:
        self._step, self._total, self._done = step, total, -1
        self.done()

    def done(self) -> None:
        self._done += 1
        if self._step is not None:
            self._step(self._done, self._total)


_PARTS = 8
"""Parts measured along each side, at most."""


class Span(NamedTuple):
    """The place of a tile along one axis, and how much each of its pixels counts there.

    Attributes:
        start, stop: in pixels of the image.
        weight: (stop - start,) float32; over all spans of an axis the weights of a pixel sum to 1.
    """

    start: int
    stop: int
    weight: NDArray[np.float32]


def spans(length: int, tile: int, multiple: int) -> list[Span]:
    """Tiles of ``tile`` pixels (a multiple of ``multiple``) along an axis of ``length``; the last ends at its end.

    All start at a multiple of ``multiple``, so that the network folds and halves their pixels as those of the image.
    """
    if length <= tile:
        return [Span(0, length, np.ones(length, np.float32))]
    last = ceil(length / multiple) * multiple - tile
    starts = [*range(0, last, (tile - OVERLAP) // multiple * multiple), last]
    places = [(start, min(start + tile, length)) for start in starts]
    ramps = [_ramp(stop - start, inner=(start > 0, stop < length)) for start, stop in places]
    total = np.zeros(length)
    for (start, stop), ramp in zip(places, ramps, strict=True):
        total[start:stop] += ramp
    return [
        Span(start, stop, (ramp / total[start:stop]).astype(np.float32))
        for (start, stop), ramp in zip(places, ramps, strict=True)
    ]


def _ramp(size: int, inner: tuple[bool, bool]) -> NDArray[np.float64]:
    """1, falling to 0 towards the ends that have a neighbour, and 0 in the last quarter of the overlap."""
    centres, far = np.arange(size) + 0.5, np.full(size, np.inf)
    to_edge = np.minimum(centres if inner[0] else far, size - centres if inner[1] else far)
    return np.clip((to_edge - OVERLAP / 4) / (OVERLAP / 2), 0, 1)


def _restore_tiles(
    model: nn.Module,
    image: Image,
    tile: int,
    fixed: Statistics,
    step: Callable[[int, int], None] | None,
    heads: _Heads | None,
) -> ImageF:
    multiple = _multiple(model)
    height, width = image.shape[:2]
    side = ceil(tile / multiple) * multiple
    tiles = list(_tiles(height, width, side, multiple))
    told = _Steps(step, len(tiles) * (1 if fixed else 2) + 1)
    statistics = _measured(model, image, most=4 * side**2) | fixed
    told.done()
    if not fixed:
        means: Gathered = {}
        for one in tiles:
            with gathered(model, statistics, one.window, one.inside, means):
                model(_on_device(model, image[one.place]))
            told.done()
        statistics |= merged(means)
    restored = np.zeros((height, width, 3), np.float32)
    for one in tiles:
        with reused(model, statistics, one.window):
            restored_tile = _run(model, image[one.place], heads, one)
        restored[one.place] += one.weight * restored_tile
        told.done()
    return restored


class _Tile(NamedTuple):
    place: tuple[slice, slice]
    window: TileWindow
    inside: Inside
    weight: NDArray[np.float32]


def _tiles(height: int, width: int, side: int, multiple: int) -> Iterator[_Tile]:
    """All tiles of an image; ``weight`` is (h, w, 1), ``inside`` reaches to the middle of each overlap."""
    rows, columns = spans(height, side, multiple), spans(width, side, multiple)
    for down, (top, bottom) in zip(rows, _insides(rows, multiple), strict=True):
        for across, (left, right) in zip(columns, _insides(columns, multiple), strict=True):
            yield _Tile(
                (slice(down.start, down.stop), slice(across.start, across.stop)),
                TileWindow(*_share(down, height, multiple), *_share(across, width, multiple)),
                Inside(top, bottom, left, right),
                down.weight[:, None, None] * across.weight[:, None],
            )


def _insides(spans: Sequence[Span], multiple: int) -> Iterator[tuple[float, float]]:
    """Where the inside of each span begins and ends, as shares of the span as the network pads it."""
    middles = [(span.stop + later.start) / 2 for span, later in pairwise(spans)]
    for span, begin, end in zip(spans, [0.0, *middles], [*middles, float("inf")], strict=True):
        padded = ceil((span.stop - span.start) / multiple) * multiple
        yield (begin - span.start) / padded if begin else 0.0, min((end - span.start) / padded, 1.0)


def _measured(model: nn.Module, image: Image, most: int) -> Statistics:
    """What the network measures on every k-th pixel, k >= 2, of which there are about ``most`` at most."""
    step = max(2, ceil(sqrt(image.shape[0] * image.shape[1] / most)))
    with recorded(model) as statistics:
        model(_on_device(model, image[::step, ::step]))
    return statistics


def _measured_in_parts(model: nn.Module, image: Image, side: int) -> Statistics:
    """The mean of what the network measures on each of at most 8 x 8 parts; surveys, which are maps, are left out."""
    starts = []
    for length in image.shape[:2]:
        count = min(_PARTS, max(1, length // side))
        starts.append(np.linspace(0, max(0, length - side), count).astype(int))
    places = [(slice(top, top + side), slice(left, left + side)) for top in starts[0] for left in starts[1]]
    with recorded(model, GlobalMeans) as statistics:
        model(torch.cat([_on_device(model, image[window]) for window in places]))
    return averaged(statistics)


def _share(span: Span, length: int, multiple: int) -> tuple[float, float]:
    """Where the span starts and how far it extends, as shares of the axis, both as the network pads them."""
    padded = [ceil(size / multiple) * multiple for size in (span.stop - span.start, length)]
    return span.start / padded[1], padded[0] / padded[1]


def _multiple(model: nn.Module) -> int:
    return int(getattr(model, "size_multiple", 1))


def _on_device(model: nn.Module, image: Image) -> Tensor:
    parameter = next(model.parameters())
    return image_tensor(image).to(device=parameter.device, dtype=parameter.dtype)


def _as_image(restored: Tensor) -> ImageF:
    return restored[0].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
