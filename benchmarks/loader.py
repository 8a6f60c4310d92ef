"""Training patches per second and core, against opening two full-size PNGs per patch, and what the training waits.

Public training code opens the degraded and the clean image of a sample with Pillow, cuts one patch and throws the rest
away. Here both read the same pixels (photographs with grain, and a noisy version) in one process and one thread:

* png: both files in full for each patch, crop, flips, float tensors;
* tiles: shards of 256-pixel tiles, decoded for each patch (no cache);
* cache: the same with decoded tiles kept in memory, after one round through them (``train.cache_mb``).

Then one network is trained for some steps on each, with one process that decodes, and the share of the time is
measured that the training waits for data. Run: python -m benchmarks.loader [--patches N] [--steps N]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.utils.data import Dataset

from cea.data.archive import TarWriter
from cea.data.loaders import PatchDataset, PatchSequence, PatchSpec, ShardPairs, StepSampler
from cea.data.png import encode as encode_png
from cea.data.shards import INDEX, PARTS, write_index
from cea.data.sources.bundled import Bundled, BundledConfig
from cea.io.images import pixel_sha256, read_rgb, write_image
from cea.levels import to_uint8
from cea.models.config import ModelConfig
from cea.models.network import build
from cea.models.tensors import unit_batch
from cea.training.config import TrainConfig
from cea.training.data import TimedLoader
from cea.training.module import RestorationModule

SIZES = {"481x321 (BSD)": (321, 481), "1080x720 (CDD-11)": (720, 1080), "2040x1356 (DIV2K)": (1356, 2040)}
"""(height, width) of the photographs of well-known training sets."""

IMAGES, TILES, TILE, PATCH, BATCH = 8, 4, 256, 128, 8
"""Photographs; tiles cut from each; side of a tile and of a patch in pixels; patches per step."""

CACHE_BYTES = 1 << 30


class FullSizePngs(Dataset[tuple[Tensor, Tensor]]):
    """One patch from two PNGs that are opened in full, as public code does it."""

    def __init__(self, folder: Path) -> None:
        self.names = sorted(path.name for path in (folder / "clean").iterdir())
        self.folder = folder

    def __getitem__(self, order: PatchSpec) -> tuple[Tensor, Tensor]:
        """Degraded and clean, (3, PATCH, PATCH) float in [0, 1]."""
        name = self.names[order.row % len(self.names)]
        degraded, clean = (self._open(self.folder / part / name) for part in ("degraded", "clean"))
        top, left = (
            int(at * (size - PATCH + 1)) for at, size in zip((order.top, order.left), clean.shape, strict=False)
        )
        return self._tensor(degraded, top, left, order), self._tensor(clean, top, left, order)

    def _open(self, path: Path) -> np.ndarray:
        return np.array(Pillow.open(path).convert("RGB"))

    def _tensor(self, image: np.ndarray, top: int, left: int, order: PatchSpec) -> Tensor:
        patch = image[top : top + PATCH, left : left + PATCH]
        patch = patch[::-1] if order.flips[0] else patch
        patch = patch[:, ::-1] if order.flips[1] else patch
        return torch.from_numpy(np.ascontiguousarray(patch.transpose(2, 0, 1))).float().div(255)


def write_pairs(folder: Path, size: tuple[int, int]) -> None:
    """Photographs of ``size`` with the grain of a camera, and the same with noise of sigma 25."""
    names = ["astronaut", "coffee", "rocket", "chelsea", "motorcycle", "china", "flower", "hubble"][:IMAGES]
    for number, item in enumerate(Bundled(BundledConfig(names=names)).items()):
        rng = np.random.default_rng(number)
        photo = cv2.resize(to_uint8(item.load().rgb), size[::-1], interpolation=cv2.INTER_CUBIC)
        for part, sigma in (("clean", 2.0), ("degraded", 25.0)):
            noisy = np.clip(photo + rng.normal(0, sigma, photo.shape), 0, 255)
            write_image(folder / part / f"{number}.png", np.rint(noisy).astype(np.uint8))


def write_tiles(folder: Path, source: Path) -> None:
    """``TILES`` tiles of each pair as one folder of shards."""
    folder.mkdir(parents=True)
    rows = []
    with TarWriter(folder / "000000.tar") as tar:
        for path in sorted((source / "clean").iterdir()):
            clean, degraded = read_rgb(path), read_rgb(source / "degraded" / path.name)
            rng = np.random.default_rng(len(rows))
            for _ in range(TILES):
                top, left = (int(rng.integers(0, length - TILE + 1)) for length in clean.shape[:2])
                tile = slice(top, top + TILE), slice(left, left + TILE)
                rows.append(_write_tile(tar, f"t{len(rows):04d}", clean[tile], degraded[tile]))
    write_index(folder, pl.DataFrame(rows, schema=INDEX))


def _write_tile(tar: TarWriter, name: str, clean: np.ndarray, degraded: np.ndarray) -> dict[str, object]:
    members = {"clean": encode_png(clean), "degraded": encode_png(degraded), "severity": b"", "record": b"{}"}
    row: dict[str, object] = {
        **{"sample_id": name, "tar": "000000.tar", "recipe": "noise", "clean_id": name, "uniform": True},
        **{"components": ["noise"], "n_components": 1, "height": TILE, "width": TILE},
        **{"clean_sha256": pixel_sha256(clean), "degraded_sha256": pixel_sha256(degraded)},
    }
    for part, suffix in PARTS.items():
        row[f"{part}_offset"], row[f"{part}_size"] = tar.add(f"{name}.{part}.{suffix}", members[part])
    return row


def per_second(read: Callable[[PatchSpec], object], orders: list[PatchSpec]) -> float:
    """Patches per second of processor time: other processes of the machine do not count."""
    start = time.process_time()
    for order in orders:
        read(order)
    return len(orders) / (time.process_time() - start)


def speeds(folder: Path, patches: int) -> dict[str, float]:
    """Patches per second of each way to read, ready for the network."""
    orders = PatchSequence((IMAGES * TILES,), patches, seed=0).orders(0)
    rates = {"png": per_second(FullSizePngs(folder / "png").__getitem__, orders[: max(8, patches // 4)])}
    for name, room in (("tiles", 0), ("cache", CACHE_BYTES)):
        dataset = PatchDataset(ShardPairs([folder / "tiles"], room), PATCH)
        for row in range(IMAGES * TILES) if room else ():
            dataset.pairs.pair(0, row)
        rates[name] = per_second(partial(_read, dataset), orders)
    return rates


def _read(dataset: PatchDataset, order: PatchSpec) -> list[Tensor]:
    return [unit_batch(image[None]) for image in dataset[order]]


def waiting(dataset: Dataset[tuple[Tensor, Tensor]], steps: int) -> tuple[float, float]:
    """Steps per second of a training, and the share of its time that it waits for data."""
    module = RestorationModule(build(ModelConfig()), TrainConfig())
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    sampler = StepSampler(PatchSequence((IMAGES * TILES,), BATCH, seed=0), range(steps + 5))
    loader = TimedLoader(dataset, batch_sampler=sampler, num_workers=1)  # type: ignore[arg-type]
    for number, batch in enumerate(loader):
        if number == 5:  # the decoding process has started
            start, before = time.perf_counter(), loader.waited
        degraded, clean = (image if image.is_floating_point() else unit_batch(image) for image in batch)
        module.loss(module.network(degraded), clean).backward()
        optimizer.step()
        optimizer.zero_grad()
    spent = time.perf_counter() - start
    return steps / spent, (loader.waited - before) / spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--patches", type=int, default=160)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"{PATCH}-pixel patches per second, one process, one thread; tiles of {TILE} pixels")
    print(f"{'photographs':20s}     png   tiles   ratio   cache   ratio   waiting: png, tiles, cache")
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_pairs(folder / "png", size)
            write_tiles(folder / "tiles", folder / "png")
            rates = speeds(folder, options.patches)
            tiles, cache = (PatchDataset(ShardPairs([folder / "tiles"], room), PATCH) for room in (0, CACHE_BYTES))
            shares = [waiting(dataset, options.steps)[1] for dataset in (FullSizePngs(folder / "png"), tiles, cache)]
        ratios = [rates[way] / rates["png"] for way in ("tiles", "cache")]
        print(
            f"{name:20s} {rates['png']:7.1f} {rates['tiles']:7.1f} {ratios[0]:7.1f} {rates['cache']:7.1f} "
            f"{ratios[1]:7.1f}   {' '.join(f'{share:6.1%}' for share in shares)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
