"""Time of the degradation engine, one thread, 1080x720, against two others measured in the same run.

The published formation of CDD-11's low_haze_rain in NumPy on float64, given its maps; and the same in OpenCV calls on
float32, the floor, given its noise field, too. The engine makes noise, depth, light and rain itself, with its compiled
loops and without. Times are the processor's.
Run: python -m benchmarks.degradations [PHOTO]
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as PilImage

from cea.config import parse
from cea.data.png import encode as encode_png
from cea.degradations.contract.base import Context, Degradation, Params, Scene
from cea.degradations.contract.registry import FAMILIES
from cea.degradations.engine.draw import draw
from cea.degradations.engine.fused import Canvas
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import render
from cea.degradations.exact import compiled
from cea.degradations.exact.normal import noise_planes
from cea.degradations.exact.portable import portable
from cea.io.images import read_rgb
from cea.rng import SampleKey

HEIGHT, WIDTH = 720, 1080
REPEATS = 15
FLOOR = "OpenCV floor chain, everything given"
OPENCV_PNG = (
    cv2.IMWRITE_PNG_FILTER,
    cv2.IMWRITE_PNG_FILTER_AVG,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
)
RECIPE = {"order": "cdd11", "nodes": {"low": {}, "rain": {}, "haze": {}}}


def interleaved(jobs: dict[str, Callable[[], object]], rounds: int = REPEATS) -> dict[str, float]:
    """Least processor times in ms (other processes only ever add), the jobs taking turns.

    Each runs twice in a row and the second time counts: the first meets the memory that another job left.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            job()
            start = time.process_time()
            job()
            times[name].append(time.process_time() - start)
    return {name: 1e3 * min(seconds) for name, seconds in times.items()}


def photograph() -> np.ndarray:
    """The photograph named on the command line at 1080x720, or smooth random colours."""
    if len(sys.argv) > 1:
        return cv2.resize(read_rgb(Path(sys.argv[1])), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    colours = np.random.default_rng(0).random((18, 27, 3)).astype(np.float32)
    return (255 * np.clip(cv2.resize(colours, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), 0, 1)).astype(np.uint8)


def published(
    image: np.ndarray,
    maps: dict[str, np.ndarray],
    rng: np.random.RandomState,
    gamma: float = 2.5,
    sigma: float = 0.05,
    beta: float = 1.5,
    airlight: float = 0.75,
) -> np.ndarray:
    """low -> rain -> haze in float64, as CDD-11's description says it; (H, W, 3) in [0, 1].

    Args:
        image: (H, W, 3) uint8.
        maps: float64 in [0, 1]: ``light`` (H, W); ``rain`` and ``inverse_depth`` (H, W, 3), as published maps are.
        rng: draws the noise.
        gamma: exponent of the light.
        sigma: standard deviation of the noise.
        beta: scattering coefficient.
        airlight: of the haze.
    """
    blur = partial(cv2.blur, ksize=(3, 3))
    guide, luma = maps["light"], cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) / 255.0
    mean_i, mean_p = blur(guide), blur(luma)
    slope = (blur(guide * luma) - mean_i * mean_p) / (blur(guide * guide) - mean_i * mean_i + 0.01)
    light = (blur(slope) * guide + blur(mean_p - slope * mean_i) + 1e-7)[..., None]
    x = np.clip(image / 255.0 / light * light**gamma + rng.normal(0, sigma, image.shape), 0, 1)
    x = x + maps["rain"]
    transmission = np.exp(-beta * np.minimum(1 - cv2.blur(maps["inverse_depth"], (22, 22)), 0.7))
    return np.clip(x * transmission + airlight * (1 - transmission), 0, 1)


def published_job(image: np.ndarray) -> Callable[[], object]:
    """The published formation with random maps, as uint8."""
    rng, shape = np.random.default_rng(0), image.shape
    maps = {"light": rng.random(shape[:2]) * 0.9 + 0.1, "rain": rng.random(shape), "inverse_depth": rng.random(shape)}
    noise = np.random.RandomState(0)
    return lambda: np.rint(published(image, maps, noise) * 255).astype(np.uint8)


def floor_chain(image: np.ndarray, maps: dict[str, np.ndarray]) -> np.ndarray:
    """low -> rain -> haze on float32 with OpenCV, everything given."""
    blur = partial(cv2.blur, ksize=(3, 3))
    x = cv2.multiply(image, (1 / 255,) * 3, dtype=cv2.CV_32F)
    guide, luma = maps["light"], cv2.cvtColor(x, cv2.COLOR_BGR2GRAY)
    mean_i, mean_p = blur(guide), blur(luma)
    covariance = cv2.subtract(blur(cv2.multiply(guide, luma)), cv2.multiply(mean_i, mean_p))
    variance = cv2.subtract(blur(cv2.multiply(guide, guide)), cv2.multiply(mean_i, mean_i))
    slope = cv2.divide(covariance, cv2.add(variance, 0.01))
    light = cv2.add(cv2.multiply(blur(slope), guide), blur(cv2.subtract(mean_p, cv2.multiply(slope, mean_i))))
    gain = cv2.pow(cv2.max(light, 1e-7), 1.5)
    x = cv2.add(cv2.multiply(x, cv2.merge([gain] * 3)), maps["noise"])
    x = cv2.add(cv2.min(cv2.max(x, 0.0), 1.0), cv2.merge([maps["rain"]] * 3))
    distance = cv2.min(cv2.subtract(1.0, cv2.blur(maps["inverse_depth"], (22, 22))), 0.7)
    transmission = cv2.exp(cv2.multiply(distance, -1.5))
    hazy = cv2.multiply(x, cv2.merge([transmission] * 3))
    hazy = cv2.add(hazy, cv2.merge([cv2.multiply(cv2.subtract(1.0, transmission), 0.75)] * 3))
    return cv2.convertScaleAbs(cv2.max(hazy, 0.0), alpha=255)


def floor_job(image: np.ndarray) -> Callable[[], object]:
    """The floor chain with random maps."""
    rng = np.random.default_rng(0)
    maps = {name: rng.random((HEIGHT, WIDTH), np.float32) for name in ("light", "rain", "inverse_depth")}
    maps["noise"] = np.ascontiguousarray(noise_planes(1, HEIGHT, WIDTH)) * np.float32(0.05)
    return partial(floor_chain, image, maps)


def low_haze_rain(uneven: bool) -> Record:
    """A record of the recipe, for an image of any size."""
    recipe = parse(RecipeConfig, RECIPE, "recipe")
    key = SampleKey(0, "0", "low_haze_rain", 0)
    return draw("low_haze_rain", recipe, key, clean_id="x", split="train", crop=None, nonuniform=uneven)


def without_loops(job: Callable[[], object]) -> object:
    """``job`` as it runs where the package was installed without a compiler."""
    loops, compiled.LIBRARY = compiled.LIBRARY, None
    try:
        return job()
    finally:
        compiled.LIBRARY = loops


def published_times(image: np.ndarray) -> None:
    """The published formation against the engine, on the whole image and on a tile of it, even and uneven."""
    print(f"compiled loops: {'no' if compiled.LIBRARY is None else 'yes'}")
    alone = interleaved({"": published_job(image)})[""]  # before the first rendering has freed memory kept
    print(f"published formation, before memory is kept  {alone:8.2f} ms")
    for what, pixels in (("1080x720", image), ("256x256", np.ascontiguousarray(image[200:456, 300:556]))):
        jobs = {"published formation, maps given": published_job(pixels)}
        for how in ("even", "uneven"):
            rendering = partial(render, low_haze_rain(how == "uneven"), pixels)
            jobs |= {f"render, {how}": rendering, f"render, {how}, no loops": partial(without_loops, rendering)}
        times = interleaved(jobs)
        for name, milliseconds in times.items():
            ratio = times["published formation, maps given"] / milliseconds
            print(f"{what:9s} {name:33s} {milliseconds:8.2f} ms, 1 / {ratio:.2f} of published")


def chain_times(image: np.ndarray) -> float:
    """The engine against the floor, and with encoding; returns the floor in ms."""
    record = low_haze_rain(uneven=False)
    degraded = render(record, image).degraded
    times = interleaved(
        {
            FLOOR: floor_job(image),
            "render: low_haze_rain with noise and maps": lambda: render(record, image),
            "render and lossless encoding": lambda: encode_png(render(record, image).degraded),
            "lossless encoding": lambda: encode_png(degraded),
            "OpenCV's fastest small PNG": lambda: cv2.imencode(".png", degraded, OPENCV_PNG),
            "Pillow's default PNG": lambda: pillow_png(degraded),
        }
    )
    for name, milliseconds in times.items():
        print(f"{name:45s} {milliseconds:8.2f} ms {milliseconds / times[FLOOR]:7.2f} x floor")
    sizes = [len(data) / len(pillow_png(degraded)) for data in opencv_and_ours(degraded)]
    print("bytes against Pillow's: ours {1:.3f}, OpenCV's {0:.3f}".format(*sizes))
    return times[FLOOR]


def pillow_png(image: np.ndarray) -> bytes:
    """What webdataset writes by default."""
    file = io.BytesIO()
    PilImage.fromarray(image).save(file, "png")
    return file.getvalue()


def opencv_and_ours(image: np.ndarray) -> tuple[bytes, bytes]:
    """The same pixels as OpenCV encodes them, and as this package does."""
    return cv2.imencode(".png", image[..., ::-1], OPENCV_PNG)[1].tobytes(), encode_png(image)


def applied(family: Degradation[Any, Any], image: np.ndarray, params: Params, context: Context) -> np.ndarray:
    """The degraded image, by the engine's pass where it can do the family."""
    canvas = Canvas(image)
    if not canvas.takes(family, params, context, np.empty(image.shape[:2], np.float32), again=False):
        canvas.replace(family.apply(canvas.planes(), params, context).image)
    return canvas.planes()


def family_times(image: np.ndarray, floor: float) -> None:
    """Every registered family at severity .7, scene maps made beforehand, from 8 bits to float planes."""
    depth = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None].repeat(WIDTH, axis=1)
    scene = Scene(depth, np.full((HEIGHT, WIDTH), 0.5, np.float32))
    growing = np.linspace(0, 1, WIDTH, dtype=np.float32)[None].repeat(HEIGHT, axis=0)
    print(f"\n{'family':20s} {'even':>9s} {'uneven':>9s} {'x floor':>9s} {'x floor':>9s}")
    for name in FAMILIES:
        kind = FAMILIES[name]
        family = kind(kind.Ranges())
        even, uneven = (
            portable()(partial(applied, family, image, family.at(0.7), Context(scene, 1, strength)))  # as render does
            for strength in (None, growing)
        )
        times = interleaved({"even": even, "uneven": uneven}, 11)
        ratios = "".join(f"{times[how] / floor:10.2f}" for how in ("even", "uneven"))
        print(f"{name:20s} {times['even']:6.1f} ms {times['uneven']:6.1f} ms{ratios}")


def main() -> None:
    """Print the tables."""
    cv2.setNumThreads(1)
    image = photograph()
    published_times(image)
    family_times(image, chain_times(image))


if __name__ == "__main__":
    main()
