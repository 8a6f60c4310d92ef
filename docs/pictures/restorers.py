"""The README's picture, made again after ``make repro``: ``python docs/pictures/restorers.py`` in the project's folder.

Four of the pipeline's test images as rows: the input, the default restorer, what ``make repro`` trained, the clean
photograph. Neither network was trained on these photographs: *astronaut* (NASA), *coffee* (Rachel Michetti, CC0),
*china* (danielbuechele, CC BY 2.0).
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from cea import Restorer
from cea.data.reading import read_sample
from cea.data.shards import read_index
from cea.metrics.psnr import psnr
from cea.report.strip import cover

SAMPLES = {"noise": "astronaut", "low_haze": "coffee", "haze_snow": "astronaut", "low_haze_noise": "china"}
"""Recipes, and the photograph of each; the last recipe was never trained on."""

WIDTH, HEIGHT, GAP, HEAD, LABEL = 320, 200, 8, 26, 24


def main() -> None:
    """Write restorers.jpg beside this file."""
    networks = {
        "the default restorer": Restorer.load(),
        "trained by make repro": Restorer.load("data/model/best.safetensors"),
    }
    size = (4 * (WIDTH + GAP) - GAP, HEAD + len(SAMPLES) * (HEIGHT + LABEL + GAP))
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for column, name in enumerate(("input", *networks, "clean")):
        draw.text((column * (WIDTH + GAP), 2), name, "black", ImageFont.load_default(17))
    for number, (recipe, photograph) in enumerate(SAMPLES.items()):
        folder = Path("data/shards/test", recipe)
        rows = read_index(folder).iter_rows(named=True)
        sample = read_sample(folder, next(row for row in rows if row["clean_id"].startswith(photograph)))
        restored = [network.restore(sample.degraded) for network in networks.values()]
        top = HEAD + number * (HEIGHT + LABEL + GAP)
        for column, image in enumerate((sample.degraded, *restored, sample.clean)):
            left = column * (WIDTH + GAP)
            canvas.paste(Image.fromarray(cover(image, WIDTH, HEIGHT)), (left, top))
            score = recipe.replace("_", " + ") if column == 0 else ""
            if column < 3:
                score += f"  {psnr(image, sample.clean):.1f} dB"
            draw.text((left, top + HEIGHT + 4), score.strip(), (110, 115, 113), ImageFont.load_default(14))
    canvas.save(Path(__file__).with_name("restorers.jpg"), quality=88)


if __name__ == "__main__":
    main()
