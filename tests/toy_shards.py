"""Small shard folders written without the degradation engine: smooth images, darkened and noisy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cea.data.archive import TarWriter
from cea.data.shards import INDEX, PARTS, write_index
from cea.io.images import encode_png, pixel_sha256
from cea.rng import generator, stream
from cea.types import ImageU8

Bands = Callable[[ImageU8, ImageU8], NDArray[np.uint8] | None]
"""Clean and degraded to severity bands (n, H, W); None for a sample whose severities are not known."""


def fully(clean: ImageU8, degraded: ImageU8) -> NDArray[np.uint8]:
    """One component, of full severity everywhere."""
    return np.full((1, *clean.shape[:2]), 255, np.uint8)


def write_toy_shards(
    folder: Path,
    *,
    samples: int = 4,
    size: int = 48,
    seed: int = 0,
    components: tuple[str, ...] = (),
    bands: Bands = fully,
    per_tar: int | None = None,
) -> Path:
    """Write ``samples`` pairs under ``folder`` (named after the recipe), in tars of ``per_tar`` (or one) with an index.

    ``components`` name the ``bands``; by default there is one, called after the recipe.
    """
    folder.mkdir(parents=True)
    names, rows, step = components or (folder.name,), [], per_tar or max(samples, 1)
    for number in range(0, samples, step) if samples else (0,):
        name = f"{number // step:06d}.tar"
        with TarWriter(folder / name) as tar:
            for sample in range(number, min(number + step, samples)):
                rows.append(_write(tar, folder.name, sample, size, seed, names, bands) | {"tar": name})
    write_index(folder, pl.DataFrame(rows, schema=INDEX))
    return folder


def toy_pair(recipe: str, number: int, size: int, seed: int) -> tuple[ImageU8, ImageU8]:
    """Clean and degraded: a smooth image, and the same darkened with a little noise."""
    rng = generator(stream(seed, recipe, number))
    rows, columns = np.mgrid[:size, :size][..., None] / size
    phase, frequency = rng.uniform(0, 6, 3), rng.uniform(1, 4, (2, 3))
    clean = 0.5 + 0.4 * np.sin(2 * np.pi * (frequency[0] * rows + frequency[1] * columns) + phase)
    degraded = 0.6 * clean + rng.normal(0, 0.03, clean.shape)
    to_u8 = [np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8) for image in (clean, degraded)]
    return to_u8[0], to_u8[1]


def _write(
    tar: TarWriter, recipe: str, number: int, size: int, seed: int, components: tuple[str, ...], bands: Bands
) -> dict[str, object]:
    clean, degraded = toy_pair(recipe, number, size, seed)
    severity = bands(clean, degraded)
    members = {
        "clean": encode_png(clean),
        "degraded": encode_png(degraded),
        "severity": b"" if severity is None else encode_png(severity.reshape(-1, size)),
        "record": json.dumps({"sample_id": f"toy-{recipe}-{number:04d}"}).encode(),
    }
    row: dict[str, object] = {
        "sample_id": f"toy-{recipe}-{number:04d}",
        "recipe": recipe,
        "clean_id": f"toy{number}",
        "uniform": True,
        "components": list(components),
        "n_components": len(components),
        "height": size,
        "width": size,
        "clean_sha256": pixel_sha256(clean),
        "degraded_sha256": pixel_sha256(degraded),
    }
    for part, suffix in PARTS.items():
        row[f"{part}_offset"], row[f"{part}_size"] = tar.add(f"{row['sample_id']}.{part}.{suffix}", members[part])
    return row


def write_toy_splits(folder: Path) -> Path:
    """Shards of two recipes to train and to validate on: ``folder/<split>/<recipe>``."""
    for split, seed in (("train", 0), ("val", 1)):
        for recipe in ("dark", "dim"):
            write_toy_shards(folder / split / recipe, samples=3, size=32, seed=seed)
    return folder
