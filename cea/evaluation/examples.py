"""Choosing test images to show, and writing their pictures while the network is at hand."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cea.evaluation.cases import Case
from cea.evaluation.config import ExamplesConfig
from cea.evaluation.pictures import INDEX, Picture
from cea.evaluation.table import Restore
from cea.io.images import reduced, write_bytes, write_image
from cea.levels import to_uint8
from cea.types import Image, ImageU8

Affinity = Callable[[ImageU8], Mapping[str, NDArray[Any]]]
"""(H, W, 3) uint8 -> site -> (r, h, w): ``functools.partial(cea.models.diagnostics.affinity_maps, model)``."""


def choose(images: pl.DataFrame, config: ExamplesConfig) -> list[tuple[str, bool]]:
    """Sample ids to show with whether each is a worst case: first typical images by recipe, then the worst.

    A typical image is one whose *input* PSNR is nearest the median of its recipe, among the scenes shown least so
    far: nothing the network did can influence the choice.
    """
    shown: Counter[str] = Counter()
    chosen: list[tuple[str, bool]] = []
    for _ in range(config.per_recipe):
        for group in images.partition_by("recipe", maintain_order=True):
            left = group.filter(~pl.col("sample_id").is_in([sample_id for sample_id, _ in chosen]))
            if len(left):
                pick = _typical(left, shown, float(np.median(group["input_psnr"].to_numpy())))
                shown[pick["clean_id"]] += 1
                chosen.append((pick["sample_id"], False))
    by_recipe = {recipe: index for index, recipe in enumerate(images["recipe"].unique(maintain_order=True))}
    recipe_of = dict(images.select("sample_id", "recipe").iter_rows())
    chosen.sort(key=lambda entry: by_recipe[recipe_of[entry[0]]])
    return chosen + [(sample_id, True) for sample_id in _worst(images, chosen, config.worst)]


def write_pictures(
    folder: Path,
    cases: Sequence[Case],
    images: pl.DataFrame,
    config: ExamplesConfig,
    restore: Restore,
    affinity: Affinity | None = None,
) -> list[Picture]:
    """Restore the chosen images again and write their pictures into ``folder``.

    ``affinity`` is None for networks without CEA. The index is written last: a folder without it is unfinished.
    """
    case_of = {case.sample_id: case for case in cases}
    row_of = {row["sample_id"]: row for row in images.iter_rows(named=True)}
    pictures = []
    for number, (sample_id, worst) in enumerate(choose(images, config)):
        maps = affinity if number in _spread(len(images["recipe"].unique()), config.affinity) else None
        mapped = _write(folder / sample_id, case_of[sample_id], config, restore, maps)
        pictures.append(_picture(row_of[sample_id], worst=worst, affinity=mapped))
    text = json.dumps([asdict(picture) for picture in pictures], indent=1, allow_nan=False)
    write_bytes(folder / INDEX, (text + "\n").encode())
    return pictures


def _typical(candidates: pl.DataFrame, shown: Counter[str], middle: float) -> dict[str, Any]:
    rows = list(candidates.iter_rows(named=True))
    return min(rows, key=lambda row: (shown[row["clean_id"]], abs(row["input_psnr"] - middle), row["sample_id"]))


def _worst(images: pl.DataFrame, chosen: Sequence[tuple[str, bool]], count: int) -> list[str]:
    left = images.filter(~pl.col("sample_id").is_in([sample_id for sample_id, _ in chosen]))
    return left.sort("gain_psnr", "sample_id").head(count)["sample_id"].to_list()


def _spread(total: int, count: int) -> set[int]:
    """``count`` places spread over ``total``."""
    return {int(index) for index in np.linspace(0, total - 1, min(count, total)).round()}


def _write(folder: Path, case: Case, config: ExamplesConfig, restore: Restore, affinity: Affinity | None) -> bool:
    """Write one picture; True where affinity maps went with it."""
    pixels = case.read()
    named: dict[str, Image] = {"input": pixels.degraded, "restored": restore(pixels.degraded), "clean": pixels.clean}
    for name, image in named.items():
        write_image(folder / f"{name}.png", reduced(to_uint8(image), config.max_side))
    if pixels.severity is not None and len(pixels.severity):
        bands = [reduced(band, config.max_side) for band in pixels.severity]
        write_image(folder / "severity.png", np.concatenate(bands))
    stacks = affinity(pixels.degraded) if affinity else {}
    maps: dict[str, Any] = {site: _small(stack, config.affinity_side) for site, stack in stacks.items()}
    if maps:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **maps)
        write_bytes(folder / "affinity.npz", buffer.getvalue())
    return bool(maps)


def _small(stack: NDArray[Any], side: int) -> NDArray[np.float16]:
    return np.stack([reduced(np.ascontiguousarray(plane, dtype=np.float32), side) for plane in stack]).astype(
        np.float16
    )


def _picture(row: Mapping[str, Any], *, worst: bool, affinity: bool) -> Picture:
    scores = {name: round(row[name], 4) for name in ("input_psnr", "output_psnr", "input_ssim", "output_ssim")}
    return Picture(
        sample_id=row["sample_id"],
        recipe=row["recipe"],
        clean_id=row["clean_id"],
        components=tuple(row["components"]),
        uniform=row["uniform"],
        **scores,
        worst=worst,
        affinity=affinity,
    )
