"""Tiles against the whole image: agreement, time and memory, and what the image's size does to the network.

agreement  PSNR between tiled and untiled output, also where each tile measures for itself
memory     peak memory and time of one restoration in tiles and whole, each in a process of its own
shift      mean gain on test shards against the size of the image of which the global statistics are those

Run: python -m benchmarks.tiling agreement WEIGHTS IMAGE [IMAGE ...] [--tile 512]
     python -m benchmarks.tiling memory [--megapixels 24] [--tile 512] [--whole] [--size tiny] [--block nafnet]
     python -m benchmarks.tiling shift WEIGHTS SHARDS [SHARDS ...]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cea.evaluation.cases import shard_cases
from cea.inference import restore
from cea.io.images import read_rgb
from cea.levels import to_uint8
from cea.metrics.psnr import psnr
from cea.models.checkpoint import load_weights
from cea.models.global_context import recorded, reused
from cea.models.network import RestorationNetwork
from cea.models.tensors import image_tensor
from cea.types import Image, ImageF, ImageU8

SIDES = (64, 128, 256, 512)
"""Sides in pixels of the parts that measure for themselves."""

PART = 128
"""Side in pixels of the parts whose statistics are averaged."""

CORE = 64
"""Side of the part in the middle that is judged, the same for all sizes."""

MEMORY = """
import re, sys, time
from pathlib import Path
import numpy as np, torch
from cea.inference import restore
from cea.models.config import ModelConfig
from cea.models.network import build
height, width, tile = (int(word) for word in sys.argv[1:4])
torch.set_num_threads(1)
model = build(ModelConfig(size=sys.argv[4], block=sys.argv[5]))
image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 2**20
before, start = peak(), time.perf_counter()
restore(model, image, tile=tile or None)
print(f"{before:.2f} {peak():.2f} {time.perf_counter() - start:.1f}")
"""


def alone(model: RestorationNetwork, image: Image, tile: int) -> ImageF:
    """Tiles side by side, each a picture of its own: what tiling is without the image's statistics."""
    restored = np.empty(image.shape, np.float32)
    for top in range(0, image.shape[0], tile):
        for left in range(0, image.shape[1], tile):
            tile_area = slice(top, top + tile), slice(left, left + tile)
            restored[tile_area] = restore(model, image[tile_area])
    return restored


def agreement(weights: Path, images: Iterable[Path], tile: int) -> None:
    """One line per image."""
    model, _ = load_weights(weights, trust_code=True)
    print(f"PSNR in dB to the untiled output, tiles of {tile} pixels")
    print(f"{'image':24s} {'megapixels':>10s} {'tiles':>8s} alone")
    for path in images:
        image = to_uint8(read_rgb(path))
        whole = restore(model, image)
        agreements = [psnr(output, whole) for output in (restore(model, image, tile=tile), alone(model, image, tile))]
        print(
            f"{path.stem[:24]:24s} {image[..., 0].size / 1e6:10.2f} {agreements[0]:8.1f} {agreements[1]:5.1f}",
            flush=True,
        )


def memory(megapixels: float, tile: int, size: str, block: str) -> str:
    """``GiB before, GiB at the peak, seconds`` of a restoration of a 3:2 image; ``tile`` 0 is the whole image."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    words = [str(word) for word in (height, round(1.5 * height), tile, size, block)]
    done = subprocess.run([sys.executable, "-c", MEMORY, *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else f"failed ({done.returncode})"


def shift(weights: Path, folders: list[Path]) -> None:
    """Gain in the middle of each image when the network sees a part of some size around it, or the whole image.

    ``part``: it is given that part alone. ``whole``: the whole image. ``half``: the whole image, with statistics of
    every second pixel. ``parts``: the whole image, with the mean of the statistics of parts of 128 pixels.
    """
    model, _ = load_weights(weights, trust_code=True)
    ways: dict[str, Callable[[ImageU8], ImageF]] = {
        **{f"part {side}": lambda image, side=side: _middle(restore(model, _middle(image, side))) for side in SIDES},  # type: ignore[misc]
        "whole": lambda image: _middle(restore(model, image)),
        "half": lambda image: _middle(_with_half_statistics(model, image)),
        "parts": lambda image: _middle(restore(model, image, parts=PART)),
    }
    gains: dict[str, list[list[float]]] = {}
    for case in shard_cases(folders):
        pixels = case.read()
        clean = _middle(pixels.clean)
        before = psnr(_middle(pixels.degraded), clean)
        unit = clean.astype(np.float32) / 255
        gains.setdefault(case.recipe, []).append([psnr(way(pixels.degraded), unit) - before for way in ways.values()])
    print(f"mean gain in dB on the middle {CORE} x {CORE} pixels\n{'':16s}" + "".join(f"{way:>10s}" for way in ways))
    for recipe, rows in gains.items():
        print(f"{recipe:16s}" + "".join(f"{gain:10.2f}" for gain in np.mean(rows, axis=0)))
    mean = np.mean([np.mean(rows, axis=0) for rows in gains.values()], axis=0)
    print(f"{'mean':16s}" + "".join(f"{gain:10.2f}" for gain in mean))


def _middle(image: NDArray, side: int = CORE) -> NDArray:
    top, left = (max(0, (length - side) // 2) // 8 * 8 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


@torch.inference_mode()
def _with_half_statistics(model: RestorationNetwork, image: ImageU8) -> ImageF:
    with recorded(model) as statistics:
        model(image_tensor(image[::2, ::2]))
    with reused(model, statistics):
        return restore(model, image)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("agreement", "shift"):
        command = commands.add_parser(name)
        command.add_argument("weights", type=Path)
        command.add_argument("files", type=Path, nargs="+")
        command.add_argument("--tile", type=int, default=512)
    command = commands.add_parser("memory")
    command.add_argument("--megapixels", type=float, default=24)
    command.add_argument("--tile", type=int, default=512)
    command.add_argument("--whole", action="store_true")
    command.add_argument("--size", default="tiny")
    command.add_argument("--block", default="nafnet")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "agreement":
        agreement(options.weights, options.files, options.tile)
    elif options.command == "shift":
        shift(options.weights, options.files)
    else:
        for tile in [options.tile, 0] if options.whole else [options.tile]:
            figures = memory(options.megapixels, tile, options.size, options.block)
            how = f"tiles of {tile}" if tile else "whole"
            print(f"{options.megapixels:g} megapixels, {how}: {figures} (GiB before, peak; s)")


if __name__ == "__main__":
    main()
