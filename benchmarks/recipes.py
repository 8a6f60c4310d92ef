"""Weights judged on the recipes of a params file, over photographs that nobody needs to have a degraded version of.

Each of COUNT photographs, spread over the folder PHOTOS and reduced to 320 pixels, is degraded once by each recipe, the
odd ones unevenly. A line per network: PSNR of what comes out when the clean photographs go in (mean and least), and the
gain on grey copies less that in colour, over six photographs of eight recipes. Then a line per recipe: the mean gain in
dB, how many images came out worse than they went in, and the least gain.

Run: python -m benchmarks.recipes PARAMS PHOTOS WEIGHTS [WEIGHTS ...] [--count N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import cv2
import numpy as np
import yaml

from benchmarks.restorer import ImagePair, capped_psnr, gain_of, restored_by
from cea.config import parse
from cea.data.loaders import greyed
from cea.degradations.engine.draw import draw
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.render import render
from cea.io.images import IMAGE_SUFFIXES, read_rgb
from cea.models.checkpoint import load_weights
from cea.models.network import RestorationNetwork
from cea.rng import SampleKey
from cea.types import ImageU8

SIDE = 320
SEED = 7
IN_GREY = ("noise", "low", "haze", "rain", "haze_snow", "low_haze_rain", "sensor", "camera")
"""Recipes of which grey copies are judged, where PARAMS has them, with the first `_GREY_IMAGES` photographs."""

_GREY_IMAGES = 6
_UNDEGRADED = "clean"
"""What the names of recipes begin with that leave pictures as they are."""


def photographs(folder: Path, count: int) -> list[ImageU8]:
    """``count`` of those below ``folder``, evenly spread over their order by name."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    chosen = [read_rgb(files[place]) for place in np.linspace(0, len(files) - 1, count).astype(int)]
    return [_reduced(image, SIDE / max(image.shape[:2])) for image in chosen]


def _reduced(image: ImageU8, scale: float) -> ImageU8:
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def degraded(name: str, recipe: RecipeConfig, images: Sequence[ImageU8]) -> list[ImagePair]:
    """Each image once, the odd ones unevenly."""
    pairs = []
    for number, image in enumerate(images):
        key, uneven = SampleKey(SEED, str(number), name, 0), bool(number % 2)
        record = draw(name, recipe, key, clean_id=str(number), split="test", crop=None, nonuniform=uneven)
        pairs.append(ImagePair(render(record, image).degraded, image))
    return pairs


def judge_recipes(
    model: RestorationNetwork, pairs: Mapping[str, Sequence[ImagePair]], images: Sequence[ImageU8]
) -> dict[str, Any]:
    """What the module's text says of one network."""
    clean = [capped_psnr(restored_by(model, image), image) for image in images]
    grey = [
        _gain(model, ImagePair(greyed(pair.degraded, 1), greyed(pair.clean, 1))) - _gain(model, pair)
        for name in IN_GREY
        for pair in pairs.get(name, ())[:_GREY_IMAGES]
    ]
    gains = {name: [_gain(model, pair) for pair in group] for name, group in pairs.items()}
    return {
        "recipes": {name: fmean(group) for name, group in gains.items()},
        "worse": {name: sum(gain < 0 for gain in group) for name, group in gains.items()},
        "least": {name: min(group) for name, group in gains.items()},
        "clean": fmean(clean),
        "clean_least": min(clean),
        "grey": fmean(grey) if grey else None,
    }


def _gain(model: RestorationNetwork, pair: ImagePair) -> float:
    return gain_of(restored_by(model, pair.degraded), pair)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("params", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    images = photographs(options.photos, options.count)
    recipes = yaml.safe_load(options.params.read_text())["recipes"]
    pairs = {
        name: degraded(name, parse(RecipeConfig, settings, f"recipes.{name}"), images)
        for name, settings in recipes.items()
        if not name.startswith(_UNDEGRADED)
    }
    table = {}
    for path in options.weights:
        told = table[str(path)] = judge_recipes(load_weights(path, trust_code=True)[0], pairs, images)
        grey = "-" if told["grey"] is None else f"{told['grey']:+.2f}"
        print(f"{path}: clean {told['clean']:.1f} (least {told['clean_least']:.1f})  grey {grey}", flush=True)
        for name, gain in told["recipes"].items():
            harm = f"{told['worse'][name]} of {len(images)} worse, least {told['least'][name]:+.2f}"
            print(f"  {name:<{max(map(len, pairs))}} {gain:+6.2f}  {harm}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
