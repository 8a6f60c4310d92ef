"""A large photograph through ``cea restore``: time, peak memory, and what is seen of the progress in a log.

The photograph is one of scikit-image's, enlarged to the wanted size, with noise of ten grey levels, as a JPEG. The
command runs as users run it, in a process of its own, its stderr in a file; its output is read again.

Run: python -m benchmarks.large_photograph [--megapixels 50] [--tile 512] [--suffix .png]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from cea.io.images import read_rgb
from cea.io.photo import Photo
from cea.io.writer import write_photo
from cea.progress import clock
from cea.types import ImageU8

NOISE_255 = 10
"""Standard deviation of the noise, in grey levels."""


@dataclass(frozen=True)
class Seen:
    """What one run of the command showed.

    Attributes:
        status: its exit status.
        seconds: from its start to its end.
        first: seconds up to the first line of progress; None without any.
        peak_gib: greatest resident memory of the process, GiB.
        progress: its lines of progress.
        output: all it wrote to stdout and stderr.
    """

    status: int
    seconds: float
    first: float | None
    peak_gib: float
    progress: tuple[str, ...]
    output: str


def photograph(megapixels: float) -> ImageU8:
    """(H, W, 3): a 3:2 cut of scikit-image's coffee, enlarged, with noise; the same at every call."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    size = round(1.5 * height), height
    large = cv2.resize(data.coffee(), size, interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(0)
    for rows in np.array_split(large, max(1, height // 256)):  # views: a float copy of all would take gigabytes
        noise = rng.normal(0, NOISE_255, rows.shape).astype(np.float32)
        rows[:] = np.clip(np.rint(rows + noise), 0, 255).astype(np.uint8)
    return large


def restored(source: Path, target: Path, tile: int | None) -> Seen:
    """``cea restore SOURCE -o TARGET`` as another process, watched."""
    words = [sys.executable, "-m", "cea.cli", "restore", str(source), "-o", str(target)]
    words += [] if tile is None else ["--tile", str(tile)]
    start, lines, first = time.monotonic(), [], None
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if first is None and " to go" in line:
            first = time.monotonic() - start
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    progress = tuple(line for line in lines if " to go" in line)
    seconds = time.monotonic() - start
    return Seen(process.returncode, seconds, first, usage.ru_maxrss / 2**20, progress, "".join(lines))


def main() -> None:
    """Print what was seen; exit with 1 where no photograph of the same size came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=50)
    parser.add_argument("--tile", type=int)
    parser.add_argument("--suffix", default=".png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "photo.jpg"), Path(folder, f"restored{options.suffix}")
        image = photograph(options.megapixels)
        shape = image.shape
        write_photo(source, Photo(image))
        del image
        seen = restored(source, target, options.tile)
        is_right = seen.status == 0 and target.is_file() and read_rgb(target).shape == shape
    print(seen.output, end="")
    print(f"{shape[1]}x{shape[0]} pixels, {shape[0] * shape[1] / 1e6:.1f} megapixels, exit status {seen.status}")
    print(f"time {clock(seen.seconds)}, peak memory {seen.peak_gib:.2f} GiB")
    began = "none" if seen.first is None else f"{len(seen.progress)}, the first after {seen.first:.0f} s"
    print(f"lines of progress: {began}")
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
