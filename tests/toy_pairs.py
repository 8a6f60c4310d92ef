"""A small benchmark folder of plain pairs, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cea.io.images import write_image
from cea.types import ImageU8


def picture(seed: int, height: int = 40, width: int = 50) -> ImageU8:
    """White noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_plain_set(folder: Path) -> Path:
    """Three pairs as ``target`` and ``input``, which is half as bright."""
    for number in range(3):
        write_image(folder / f"target/{number}.png", picture(number))
        write_image(folder / f"input/{number}.png", picture(number) // 2)
    return folder
