"""Draws whose degraded image keeps within bounds of PSNR: drawn, rendered, and drawn again where it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cea.decibels import psnr_of
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import render
from cea.errors import ConfigError
from cea.rng import SampleKey
from cea.types import Image, ImageU8

ATTEMPTS = 50


@dataclass(frozen=True)
class Retry(SampleKey):
    """The key of a further draw of the same sample: the same identity, other streams."""

    attempt: int

    def stream(self, *path: str | int) -> int:
        """As ``SampleKey.stream``, apart for each attempt."""
        return super().stream("attempt", self.attempt, *path)


def within_bounds(
    draw: Callable[[SampleKey], Record],
    key: SampleKey,
    bounds: tuple[float, float],
    clean: Callable[[], Image] | None,
) -> Record:
    """The first of up to 50 draws whose input PSNR lies in ``bounds`` (dB).

    Raises:
        ConfigError: no clean image to judge by, or no such draw.
    """
    if clean is None:
        raise ConfigError(
            f"recipe {key.recipe!r} bounds the input PSNR, which only pixels tell",
            expected="the clean image",
            remedy="call draw(..., clean=lambda: image), or remove input_psnr",
        )
    pixels, psnrs = clean(), []
    for attempt in range(ATTEMPTS):
        retry = Retry(key.root_seed, key.clean_sha256, key.recipe, key.variant, attempt)
        record = draw(retry if attempt else key)
        scene = record.scene.model_copy(update={"depth_given": False, "depth_sha256": None, "light_sha256": None})
        rendered = render(record.model_copy(update={"scene": scene}), pixels)
        psnrs.append(input_psnr(rendered.degraded, rendered.clean))
        if bounds[0] <= psnrs[-1] <= bounds[1]:
            return record
    raise ConfigError(
        f"recipe {key.recipe!r}: {ATTEMPTS} draws had an input PSNR of {min(psnrs):.1f} to {max(psnrs):.1f} dB",
        expected=f"{bounds[0]:g} to {bounds[1]:g} dB",
        remedy="widen input_psnr or change the ranges",
    )


def input_psnr(degraded: ImageU8, clean: ImageU8) -> float:
    """PSNR in dB of two uint8 images of the same shape; infinite if equal.

    Not `cea.metrics.psnr`: a draw is accepted by it, so its sum has to be exact (integers) on every machine.
    """
    difference = np.subtract(degraded, clean, dtype=np.int32)
    squares = int((difference * difference).sum(dtype=np.int64))
    return psnr_of(squares / (255**2 * clean.size))
