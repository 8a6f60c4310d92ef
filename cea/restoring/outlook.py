"""How long restoring will take here: a pass of the network over a small image is timed, and pixels are counted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from math import ceil
from pathlib import Path

import torch
from PIL import Image as PilImage
from torch import nn

from cea.inference import DEFAULT_TILE, WHOLE_PIXELS, spans
from cea.progress import WORTH_TELLING, clock

SIDE = 256
"""Side in pixels of the square image that is timed."""


def megapixels_per_second(network: nn.Module) -> float:
    """How fast ``network`` is on its device: the faster of two passes over 256 x 256 px, after one that warms up."""
    parameter = next(network.parameters())
    image = torch.full((1, 3, SIDE, SIDE), 0.5, device=parameter.device, dtype=parameter.dtype)
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            return SIDE * SIDE / 1e6 / min([_timed(network, image) for _ in range(3)][1:])
    finally:
        network.train(training)


def _timed(network: nn.Module, image: torch.Tensor) -> float:
    start = time.perf_counter()
    network(image).sum().item()  # waits for a GPU
    return time.perf_counter() - start


def passed_pixels(height: int, width: int, tile: int | None = None) -> int:
    """Pixels that go through the network for one image: those of the whole, or of its survey and two passes of tiles.

    Args:
        height: of the image, in pixels.
        width: likewise.
        tile: as a user wishes (`cea.inference.tile_for`).
    """
    side = tile if tile is not None else DEFAULT_TILE if height * width > WHOLE_PIXELS else 0
    if not side or max(height, width) <= side:
        return height * width
    rows, columns = (sum(span.stop - span.start for span in spans(length, side, 1)) for length in (height, width))
    return min(4 * side**2, ceil(height / 2) * ceil(width / 2)) + 2 * rows * columns


def picture_size(path: Path) -> tuple[int, int] | None:
    """Height and width that a file's header states; None where Pillow does not read it."""
    try:
        with warnings.catch_warnings(), PilImage.open(path) as picture:
            warnings.simplefilter("ignore")
            return picture.height, picture.width
    except Exception:  # on purpose: a damaged header is told by the reader, not here
        return None


def outlook(network: nn.Module, photographs: Iterable[Path], tile: int | None = None, *, then: str = "") -> str | None:
    """A line that says how long restoring ``photographs`` takes; None where that is not worth telling.

    The network is timed only where the photographs have more pixels than one that is restored whole.

    Args:
        network: on its device.
        photographs: their files; those that Pillow cannot open are left out.
        tile: as in `passed_pixels`.
        then: what takes time besides, added to the line.
    """
    sizes = [size for size in map(picture_size, photographs) if size is not None]
    work = sum(passed_pixels(*size, tile) for size in sizes) / 1e6
    if work < WHOLE_PIXELS / 1e6:
        return None
    speed = megapixels_per_second(network)
    if work / speed < WORTH_TELLING:
        return None
    shown = sum(height * width for height, width in sizes) / 1e6
    images = "1 image" if len(sizes) == 1 else f"{len(sizes)} images"
    line = f"{images}, {shown:.1f} megapixels: about {clock(work / speed)} (timed here on {SIDE}x{SIDE} px)"
    return f"{line}, {then}" if then else line
