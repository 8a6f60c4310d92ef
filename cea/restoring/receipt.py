"""The receipt of a restoration: what the network made of the photograph, as grey maps and a few numbers beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import nn

from cea.decibels import psnr_of
from cea.errors import ConfigError, DataError
from cea.inference import Estimates
from cea.io.images import encode_png, write_bytes
from cea.io.outputs import PictureJob
from cea.levels import to_uint8
from cea.types import ImageU8, Map

FORMAT = "cea-receipt-1"

GREY_LEVELS_PER_STEP = 0.5
"""Of the map of expected errors: its value 255 is an error of 127.5 grey levels, or more."""

CLEANEST_DB = 100.0
"""The dB of no error at all."""


@dataclass(frozen=True)
class Writer:
    """Writes receipts.

    Attributes:
        sha256: of the weights.
        strength: as given on the command line.
        share: what that means: a number, or a map (H, W) in [0, 1].
        tile: side of tiles as given on the command line.
    """

    sha256: str
    strength: str
    share: float | Map
    tile: int | None

    def __call__(self, job: PictureJob, size: Sequence[int], estimates: Estimates) -> None:
        """Write the maps, and last the JSON, beside the output of ``job``, a photograph of ``size`` (height, width)."""
        maps = grey_maps(estimates, size)
        for name, values in maps.items():
            write_bytes(_beside(job, f"{name}.png"), encode_png(values))
        facts = {
            "format": FORMAT,
            "photograph": job.source.name,
            "restored": job.target.name,
            "height": size[0],
            "width": size[1],
            "weights_sha256": self.sha256,
            "strength": self._strength(),
            "tile": self.tile,
            **numbers(estimates, {name: _beside(job, f"{name}.png").name for name in maps}),
        }
        write_bytes(_beside(job, "receipt.json"), (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode())

    def is_done(self, job: PictureJob) -> bool:
        """Whether the receipt is there already."""
        return _beside(job, "receipt.json").is_file()

    def _strength(self) -> float | dict[str, Any]:
        if isinstance(self.share, float):
            return self.share
        return {"mask": Path(self.strength).name, "mean": round(float(self.share.mean()), 4)}


def numbers(estimates: Estimates, files: Mapping[str, str]) -> dict[str, Any]:
    """What the receipt says in numbers: means over the photograph, and how its maps are to be read.

    ``expected_error`` is that of the photograph before the restoration: the mean absolute error in grey levels of 255,
    and 20 log10(255 / root mean square over the cells) in dB. That is at least the PSNR that these errors would give,
    as errors differ within a cell, too.

    Args:
        estimates: of the network.
        files: names of the maps (`grey_maps`).
    """
    severity = {
        name: {"mean": round(float(values.mean()), 4), "map": files[f"severity.{name}"]}
        for name, values in estimates.severity.items()
    }
    facts: dict[str, Any] = {}
    if severity:
        facts["severity"] = {"full_scale": 1.0, "components": severity}
    if estimates.error is not None:
        mean_square = float(np.square(estimates.error, dtype=np.float64).mean())
        facts["expected_error"] = {
            "grey_levels": round(255 * float(estimates.error.mean()), 3),
            "db": round(min(psnr_of(mean_square), CLEANEST_DB), 2),
            "full_scale_grey_levels": 255 * GREY_LEVELS_PER_STEP,
            "map": files["error"],
        }
    return facts


def grey_maps(estimates: Estimates, size: Sequence[int]) -> dict[str, ImageU8]:
    """``severity.<component>`` and ``error``, where the network gives them, (H, W) uint8 at the photograph's size.

    255 is a severity of 1, or an error of 127.5 grey levels; in between they are linear. Cells are interpolated
    bilinearly, as they are where they scale the correction.
    """
    scaled = {f"severity.{name}": values for name, values in estimates.severity.items()}
    if estimates.error is not None:
        scaled["error"] = estimates.error / np.float32(GREY_LEVELS_PER_STEP)
    return {name: _grey(values, estimates.cell, size) for name, values in scaled.items()}


def _grey(values: Map, cell: int, size: Sequence[int]) -> ImageU8:
    rows, columns = values.shape
    whole = cv2.resize(values, (columns * cell, rows * cell), interpolation=cv2.INTER_LINEAR)
    return to_uint8(whole[: size[0], : size[1]])


def check_heads(model: nn.Module, say: Callable[[str], None]) -> list[str]:
    """The names of the maps that ``model`` gives; says where there are none of severity.

    Raises:
        ConfigError: it gives none at all.
    """
    names = [f"severity.{name}" for name in getattr(getattr(model, "config", None), "severity", ())]
    gated = getattr(model, "log_error", None) is not None
    if not names and not gated:
        raise ConfigError(
            "--receipt: these weights have neither a severity head nor an error gate",
            expected="a network that was trained with model.severity or model.error_gate",
            remedy="leave --receipt out, or pass other --weights",
        )
    if not names:
        say("note: these weights have no severity head (model.severity): the receipt holds the expected error alone")
    return [*names, *(["error"] if gated else [])]


def check_places(jobs: Iterable[PictureJob], names: Sequence[str]) -> None:
    """Refuse to write a receipt over a photograph that is to be read.

    Raises:
        DataError: naming the first.
    """
    jobs = tuple(jobs)
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        for path in (_beside(job, f"{name}.png") for name in names):
            if path.resolve() in sources:
                raise DataError(
                    f"{path} is a photograph that is to be read, and its place is a receipt's",
                    expected="a folder for the results without photographs to read",
                    remedy="name another folder with --out",
                )


def _beside(job: PictureJob, name: str) -> Path:
    return job.target.with_suffix(f".{name}")
