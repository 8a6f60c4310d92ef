"""Time and memory of judging 1080p pairs, against scikit-image called image by image in one process, in the same run.

Both read the same PNG files (an input, an output and a target per image) and give PSNR and SSIM of input and output.
Ours is the whole of `cea.evaluation.table.evaluate` on two threads, severity and harm included, without its check.
Run: python -m benchmarks.evaluation [IMAGES]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cea.data.testsets import find_sets
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.table import evaluate
from cea.evaluation.testset import cases_of_sets, with_outputs
from cea.io.images import read_rgb, write_image
from cea.metrics.protocol import PROTOCOLS

HEIGHT, WIDTH = 1080, 1920
ROUNDS = 3
"""The fastest of these counts: other processes only ever add time."""

Scores = list[tuple[float, float]]
"""(PSNR, SSIM) of input and output of each image."""


def write_set(folder: Path, images: int) -> None:
    """``images`` synthetic photographs with noise: ``input``, ``target`` and, as outputs, ``theirs``."""
    for number in range(images):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (HEIGHT // 12, WIDTH // 12, 3), dtype=np.uint8)
        clean = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        for name, sigma in (("input", 25), ("theirs", 8)):
            noise = rng.normal(0, sigma, clean.shape)
            write_image(folder / name / f"{number}.png", np.clip(clean + noise, 0, 255).astype(np.uint8))
        write_image(folder / "target" / f"{number}.png", clean)


def by_scikit_image(folder: Path) -> Scores:
    """PSNR and SSIM of each input and output, one after the other."""
    scores = []
    for target in sorted((folder / "target").iterdir()):
        clean = read_rgb(target) / 255
        for name in ("input", "theirs"):
            image = read_rgb(folder / name / target.name) / 255
            similarity = structural_similarity(clean, image, channel_axis=-1, data_range=1)
            scores.append((float(peak_signal_noise_ratio(clean, image, data_range=1)), float(similarity)))
    return scores


def by_cea(folder: Path) -> Scores:
    """The same scores by `evaluate`."""
    cases = with_outputs(cases_of_sets(find_sets(folder), PROTOCOLS["cea"]), folder / "theirs")
    table = evaluate(cases, None, EvaluationConfig(workers=2, check=False)).images.sort("sample_id")
    rows = table.select("input_psnr", "input_ssim", "output_psnr", "output_ssim").rows()
    return [pair for row in rows for pair in (row[:2], row[2:])]


def timed(judge: Callable[[Path], Scores], folder: Path) -> tuple[float, Scores]:
    """Seconds and result of one round."""
    start = time.perf_counter()
    scores = judge(folder)
    return time.perf_counter() - start, scores


def peak_mib() -> float:
    """Most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(images: int = 12) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder, images)
        by_cea(folder)  # warm-up: imports, file cache
        ours = [timed(by_cea, folder) for _ in range(ROUNDS)]
        memory = peak_mib()
        theirs = [timed(by_scikit_image, folder) for _ in range(ROUNDS)]
    times = [min(seconds for seconds, _ in rounds) for rounds in (ours, theirs)]
    scores = ours[0][1], theirs[0][1]
    difference = np.abs(np.subtract(*scores)).max(axis=0)
    print(f"{images} images of {WIDTH}x{HEIGHT}, input and output judged")
    print(f"ours          {times[0] / images * 1000:7.0f} ms per image, peak memory of the process {memory:.0f} MiB")
    print(f"scikit-image  {times[1] / images * 1000:7.0f} ms per image")
    print(f"ratio         {times[1] / times[0]:7.1f}")
    print(f"largest difference: {difference[0]:.1e} dB PSNR, {difference[1]:.1e} SSIM")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
