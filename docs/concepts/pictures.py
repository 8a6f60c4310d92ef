"""The pictures of docs/concepts.md, made again: ``python docs/concepts/pictures.py``.

Degrades and restores a photograph that ships with scikit-image (*coffee*, by Rachel Michetti, CC0) with the commands of
the page, and sets the files side by side.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw
from skimage import data

HERE = Path(__file__).parent
WIDTH, CAPTION = 300, 22


def main() -> None:
    """Write formation.jpg and restoration.jpg beside this file."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        Image.fromarray(data.coffee()).save(folder / "coffee.png")
        run(folder, "degrade coffee.png --recipe low_haze_rain --seed 3 --uneven -o out.png --maps --record")
        run(folder, "restore out.png -o restored.png")
        formation = {
            "clean photograph": "coffee.png",
            "inverse depth (drawn)": "out.inverse_depth.png",
            "low: local severity": "out.low.severity.png",
            "rain: where streaks are": "out.rain.mask.png",
            "haze: transmission": "out.haze.transmission.png",
            "degraded": "out.png",
        }
        sheet([panel(folder / name, caption) for caption, name in formation.items()], 3, "formation.jpg")
        restoration = {"degraded": "out.png", "restored": "restored.png", "clean photograph": "coffee.png"}
        sheet([panel(folder / name, caption) for caption, name in restoration.items()], 3, "restoration.jpg")


def run(folder: Path, command: str) -> None:
    """One ``cea`` command in ``folder``."""
    subprocess.run([sys.executable, "-m", "cea.cli", *command.split()], cwd=folder, check=True)


def panel(path: Path, caption: str) -> Image.Image:
    """A picture or a 16-bit map, reduced, with its caption above."""
    with Image.open(path) as opened:
        if opened.mode.startswith("I"):
            opened = Image.fromarray((np.asarray(opened, np.float64) / 65535 * 255).round().astype(np.uint8))
        picture = opened.convert("RGB").resize((WIDTH, WIDTH * opened.height // opened.width), Image.Resampling.LANCZOS)
    result = Image.new("RGB", (WIDTH, picture.height + CAPTION), "white")
    ImageDraw.Draw(result).text((2, 4), caption, "black", font_size=13)
    result.paste(picture, (0, CAPTION))
    return result


def sheet(panels: list[Image.Image], columns: int, name: str) -> None:
    """Panels of one size in rows of ``columns``, written as JPEG."""
    width, height, gap = panels[0].width, panels[0].height, 6
    rows = -(-len(panels) // columns)
    whole = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for index, one in enumerate(panels):
        whole.paste(one, (index % columns * (width + gap), index // columns * (height + gap)))
    whole.save(HERE / name, quality=85)


if __name__ == "__main__":
    main()
