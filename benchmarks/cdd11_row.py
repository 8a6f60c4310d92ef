"""Input PSNR and SSIM of the eleven CDD-11 types on photographs, beside the published row.

The published row: mean over the 200 photographs of the CDD-11 test set. Ours: other photographs, with procedural
depth, light, rain and snow. Run: python -m benchmarks.cdd11_row FOLDER [FOLDER ...] [--every N]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cea.config import load, read_params
from cea.degradations.engine.draw import draw
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.render import render
from cea.degradations.tools.cdd11 import COMPOSITIONS
from cea.io.images import IMAGE_SUFFIXES, pixel_sha256, read_rgb
from cea.metrics.psnr import psnr
from cea.metrics.ssim import ssim
from cea.rng import SampleKey

PUBLISHED = {
    "low": (12.00, 0.369),
    "haze": (15.87, 0.808),
    "rain": (22.02, 0.792),
    "snow": (23.62, 0.879),
    "low_haze": (14.94, 0.531),
    "low_rain": (14.61, 0.416),
    "low_snow": (13.50, 0.383),
    "haze_rain": (14.78, 0.714),
    "haze_snow": (14.79, 0.739),
    "low_haze_rain": (15.25, 0.483),
    "low_haze_snow": (14.63, 0.495),
}
"""PSNR in dB and SSIM of the degraded test images (OneRestore, ECCV 2024, measured on its files)."""


def photographs(folders: list[Path], every: int) -> list[Path]:
    """Every ``every``-th image file below ``folders``."""
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES]
    return files[::every]


def scores(path: Path, recipes: dict[str, RecipeConfig]) -> np.ndarray:
    """(11, 2) PSNR and SSIM of one photograph under every composition."""
    clean = read_rgb(path)
    digest = pixel_sha256(clean)
    scores_of_types = []
    for name, recipe in recipes.items():
        key = SampleKey(0, digest, name, 0)
        record = draw(name, recipe, key, clean_id=path.stem, split="test", crop=None, nonuniform=False)
        degraded = render(record, clean).degraded
        scores_of_types.append((psnr(degraded, clean), ssim(degraded, clean)))
    return np.array(scores_of_types)


def main() -> None:
    """Print both rows side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    options = parser.parse_args()
    params = read_params(options.params)
    recipes = {name: load(RecipeConfig, params, f"recipes.{name}") for name in COMPOSITIONS}
    files = photographs(options.folders, options.every)
    rows = np.mean([scores(path, recipes) for path in files], axis=0)
    print(f"{len(files)} photographs; dB / SSIM\n{'type':15s} {'published':>15s} {'ours':>15s} {'difference':>15s}")
    for name, ours in zip(COMPOSITIONS, rows, strict=True):
        _line(name, np.array(PUBLISHED[name]), ours)
    _line("mean", np.mean(list(PUBLISHED.values()), axis=0), rows.mean(axis=0))


def _line(name: str, published: np.ndarray, ours: np.ndarray) -> None:
    miss = ours - published
    mark = " " if abs(miss[0]) <= (0.75 if name == "mean" else 1.5) and abs(miss[1]) <= 0.08 else "*"
    columns = "".join(f" {row[0]:8.2f} {row[1]:6.3f}" for row in (published, ours))
    print(f"{name:15s}{columns} {miss[0]:+8.2f} {miss[1]:+6.3f} {mark}")


if __name__ == "__main__":
    main()
