"""Folders of pairs as people have them, drawn small; each is a kind of tests/field/test_field_pairs.py."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from cea.types import ImageU8


def clean_picture(seed: int = 0, height: int = 24, width: int = 32) -> ImageU8:
    """Blocks of colour on a slope, which no flip leaves as it is."""
    blocks = np.random.default_rng(seed).integers(40, 200, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    large = np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width]
    return large + np.arange(width, dtype=np.uint8)[None, :, None]


def degraded_picture(clean: ImageU8) -> ImageU8:
    """Somewhat darker."""
    return (clean * 0.8).astype(np.uint8)


def save(path: Path, image: ImageU8, **options: object) -> None:
    """In the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(image).save(path, **options)


def write_pairs(folder: Path, *names: tuple[str, str]) -> Path:
    """Pairs of an input and a target; each target is another picture."""
    targets = sorted({target for _, target in names})
    for source, target in names:
        clean = clean_picture(targets.index(target))
        save(folder / target, clean)
        save(folder / source, degraded_picture(clean))
    return folder


NFD = unicodedata.normalize("NFD", "café")
KINDS: dict[str, tuple[tuple[str, str], ...]] = {
    "LOL-v2": tuple((f"input/low{n:05}.png", f"target/normal{n:05}.png") for n in (690, 691)),
    "LOL-v2, its own folders": (("Low/low00690.png", "Normal/normal00690.png"),),
    "LOL-v1": (("low/1.png", "high/1.png"),),
    "O-HAZE": (("hazy/01_outdoor_hazy.jpg", "GT/01_outdoor_GT.jpg"),),
    "Dense-Haze": (("hazy/01_hazy.png", "GT/01_GT.png"), ("hazy/02_hazy.png", "GT/02_GT.png")),
    "_gt on targets": (("input/0001.png", "target/0001_gt.png"),),
    "gt without a mark": (("input/000.png", "target/000gt.png"),),
    "_rain and _clean": (("data/0_rain.png", "gt/0_clean.png"), ("data/1_rain.png", "gt/1_clean.png")),
    "x4": (("input/0001x4.png", "target/0001.png"),),
    "x2": (("lr/0001x2.png", "hr/0001.png"), ("lr/0002x2.png", "hr/0002.png")),
    "LR4 and HR": (("LR/Canon_001_LR4.png", "HR/Canon_001_HR.png"),),
    "SIDD": (("noisy/NOISY_SRGB_010.png", "gt/GT_SRGB_010.png"),),
    "RealBlur": (("blur/blur_1.png", "gt/gt_1.png"),),
    "folders in capitals": (("LQ/rain-1.png", "GT/norain-1.png"), ("LQ/rain-2.png", "GT/norain-2.png")),
    "folders in title case": (("Input/1.png", "Target/1.png"), ("Input/2.png", "Target/2.png")),
    "names from macOS": ((f"input/{NFD}.png", "target/café.png"),),
    "names for macOS": (("input/café.png", f"target/{NFD}.png"),),
    "suffix in capitals": (("input/1.PNG", "target/1.png"),),
    "name in another case": (("input/IMG_1.png", "target/img_1.png"),),
    "other formats": (("input/1.jpg", "target/1.png"), ("input/2.webp", "target/2.png")),
    "several inputs of one target": tuple((f"hazy/0001_{beta}_0.2.jpg", "gt/0001.png") for beta in (0.8, 0.9)),
    "RESIDE indoor": (("hazy/1400_1.png", "gt/1400.png"), ("hazy/1401_1.png", "gt/1401.png")),
    "Rain1400": (("rainy_image/901_1.jpg", "ground_truth/901.jpg"), ("rainy_image/901_2.jpg", "ground_truth/901.jpg")),
    "Levin": (("degraded/im1_kernel1_img.png", "clean/im1.png"), ("degraded/im1_kernel2_img.png", "clean/im1.png")),
    "names that are words": (("input/low.png", "target/normal.png"),),
    "odd names": tuple(
        (f"input/{name}.png", f"target/{name}.png") for name in ("a b", "100%", "[1]", "a\nb", "-o", "'")
    ),
}
