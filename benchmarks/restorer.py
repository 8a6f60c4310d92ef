"""Weights judged on real sets, and on what a restorer must not do: harm clean pictures, tint grey ones, leave a grid.

SETS is a folder whose sub-folders hold ``clean`` and ``degraded`` (files of one name) or only ``clean``, to which noise
is added. One line per set, all in dB and protocol ``cea``:

gain    mean over images of the output's PSNR less the input's; ``worse`` is the share of images that lost
grey    gain on grey copies less gain in colour; ``tint`` is the mean spread of the output's channels, in grey levels
clean   PSNR of what comes out when the clean images go in: mean and least over images
grid    in 32 x 32 windows where the clean image is flat: mean power at the frequencies of periods 2, 4 and 8 pixels
        along rows or columns against the frequencies beside them, output (input); 0 where there is no pattern
error   where the network foresees its input's error (``error_gate``): geometric mean over images of foreseen to true
        mean absolute error, and the correlation of their logarithms

Run: python -m benchmarks.restorer WEIGHTS SETS [--limit N] [--only NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cea.data.loaders import greyed
from cea.inference import restore, tile_for
from cea.io.images import IMAGE_SUFFIXES, read_rgb
from cea.levels import to_uint8
from cea.metrics.psnr import psnr
from cea.models.checkpoint import load_weights
from cea.models.network import ERROR_UNIT, RestorationNetwork
from cea.models.tensors import image_tensor
from cea.rng import generator, stream
from cea.types import ImageF, ImageU8

SIGMA = 25
"""Standard deviation of the noise that clean sets get, in grey levels; rounded and clipped to 8 bits."""

WINDOW = 32
PERIODS = (2, 4, 8)
_FLAT = 1.5
"""A window is flat where the clean image's standard deviation is below this, in grey levels."""
_CAP = 80.0
"""PSNR in dB of equal images."""


@dataclass(frozen=True)
class ImagePair:
    """Two images of one size, uint8."""

    degraded: ImageU8
    clean: ImageU8


@dataclass(frozen=True)
class Judged:
    """What one pair tells: see the module's text."""

    gain: float
    grey_gain: float
    tint: float
    clean: float
    error: float
    expected_error: float
    grid_input: list[NDArray[np.float64]]
    grid_output: list[NDArray[np.float64]]


def pairs(folder: Path, limit: int | None) -> Iterator[ImagePair]:
    """The pairs of one set, evenly spread over it where there is a limit."""
    inputs = next(subfolder for subfolder in (folder / "degraded", folder / "clean") if subfolder.is_dir())
    files = sorted(path for path in inputs.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    step = max(1, len(files) // limit) if limit else 1
    targets = {path.stem: path for path in (folder / "clean").iterdir()}
    for path in files[::step][:limit]:
        scene = path.stem.partition("_")[0]  # 0012_0.8_0.2 -> 0012, as in RESIDE: several inputs share a target
        clean = read_rgb(targets.get(path.stem) or targets[scene])
        if path.parent.name == "clean":
            noise = generator(stream(0, "noise", path.name)).normal(0, SIGMA, clean.shape)
            yield ImagePair(to_uint8((clean + noise).clip(0, 255) / 255), clean)
        else:
            yield ImagePair(read_rgb(path), clean)


def judge(model: RestorationNetwork, pair: ImagePair) -> Judged:
    """Restore it in colour, in grey, and its clean image."""
    restored = restored_by(model, pair.degraded)
    grey = ImagePair(greyed(pair.degraded, 1), greyed(pair.clean, 1))
    restored_grey = restored_by(model, grey.degraded)
    return Judged(
        gain=gain_of(restored, pair),
        grey_gain=gain_of(restored_grey, grey),
        tint=float(np.ptp(restored_grey, axis=2).mean()) * 255,
        clean=capped_psnr(restored_by(model, pair.clean), pair.clean),
        error=float(np.abs(pair.degraded.astype(np.float32) - pair.clean).mean()) / 255,
        expected_error=expected_error(model, pair.degraded),
        grid_input=_spectra(pair.degraded.astype(np.float64), pair.clean),
        grid_output=_spectra(restored.astype(np.float64) * 255, pair.clean),
    )


def summary(judged: Sequence[Judged]) -> dict[str, Any]:
    """Over the images of a set."""
    gains = [one.gain for one in judged]
    return {
        "images": len(judged),
        "gain": fmean(gains),
        "worse": fmean(gain < 0 for gain in gains),
        "grey": fmean(one.grey_gain - one.gain for one in judged),
        "tint": fmean(one.tint for one in judged),
        "clean": fmean(one.clean for one in judged),
        "clean_least": min(one.clean for one in judged),
        **calibration(judged),
        "grid": grid([spectrum for one in judged for spectrum in one.grid_output]),
        "grid_input": grid([spectrum for one in judged for spectrum in one.grid_input]),
    }


def calibration(judged: Sequence[Judged]) -> dict[str, float]:
    """How well the input's error is foreseen; empty without a head for it."""
    pairs = np.log([(max(one.expected_error, 1e-6), max(one.error, 1e-6)) for one in judged])
    if not np.isfinite(pairs).all() or len(pairs) < 3:
        return {}
    expected, true = pairs.T
    return {
        "error_ratio": float(np.exp((expected - true).mean())),
        "error_correlation": float(np.corrcoef(expected, true)[0, 1]),
    }


def expected_error(model: RestorationNetwork, image: ImageU8) -> float:
    """Mean over the image, full scale 1; NaN without a head for it."""
    with torch.inference_mode():
        log_error = model.judged(image_tensor(image)).log_error
    return math.nan if log_error is None else float(log_error.exp().mean()) * ERROR_UNIT


def grid(spectra: Sequence[NDArray[np.float64]]) -> dict[int, float]:
    """By period: power on the axes at that period against the bins beside it, in dB; empty without flat windows."""
    if not spectra:
        return {}
    power = np.mean(spectra, axis=0)
    return {period: _excess(power, WINDOW // period) for period in PERIODS}


def _excess(power: NDArray[np.float64], bin_: int) -> float:
    lines = (power[:, 0], power[0])
    beside = [
        line[bin_beside]
        for line in lines
        for bin_beside in (bin_ - 3, bin_ - 2, bin_ + 2, bin_ + 3)
        if bin_beside <= WINDOW / 2
    ]
    return 10 * math.log10(max(fmean(line[bin_] for line in lines), 1e-12) / max(fmean(beside), 1e-12))


def _spectra(image: NDArray[np.float64], clean: ImageU8) -> list[NDArray[np.float64]]:
    """Power spectra of the mean of the channels, in windows that are flat in the clean image."""
    hann = np.outer(*[np.hanning(WINDOW)] * 2)
    spectra = []
    for top in range(0, image.shape[0] - WINDOW + 1, WINDOW):
        for left in range(0, image.shape[1] - WINDOW + 1, WINDOW):
            window = slice(top, top + WINDOW), slice(left, left + WINDOW)
            if clean[window].mean(axis=2).std() < _FLAT:
                grey = image[window].mean(axis=2)
                spectra.append(np.abs(np.fft.fft2((grey - grey.mean()) * hann)) ** 2)
    return spectra


def restored_by(model: RestorationNetwork, image: ImageU8) -> ImageF:
    """(H, W, 3) in [0, 1], in tiles where the image is large."""
    return restore(model, image, tile=tile_for(image))


def gain_of(restored: ImageF, pair: ImagePair) -> float:
    """PSNR in dB over the input's."""
    return capped_psnr(restored, pair.clean) - capped_psnr(pair.degraded, pair.clean)


def capped_psnr(image: ImageF | ImageU8, clean: ImageU8) -> float:
    """In dB, `_CAP` where the images are equal."""
    return min(psnr(image, clean), _CAP)


def line(name: str, values: dict[str, Any]) -> str:
    """One set for the terminal."""
    grids = ", ".join(f"{values['grid'][p]:+.1f} ({values['grid_input'][p]:+.1f})" for p in values["grid"])
    return (
        f"{name:28s} {values['images']:3d}  gain {values['gain']:+6.2f}  worse {values['worse']:4.0%}  grey "
        f"{values['grey']:+5.2f}  tint {values['tint']:.2f}  clean {values['clean']:5.2f} (least "
        f"{values['clean_least']:5.2f})  grid {grids or '-'}"
        + (
            f"  error x{values['error_ratio']:.2f}, r {values['error_correlation']:.2f}"
            if "error_ratio" in values
            else ""
        )
    )


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("sets", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model, metadata = load_weights(options.weights, trust_code=True)
    table = {}
    for folder in sorted(folder for folder in options.sets.iterdir() if (folder / "clean").is_dir()):
        if not options.only or folder.name in options.only:
            table[folder.name] = summary([judge(model, pair) for pair in pairs(folder, options.limit)])
            print(line(folder.name, table[folder.name]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"weights": metadata, "sets": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
