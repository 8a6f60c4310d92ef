"""Degrading one image in memory: ``degrade(image, recipe="cdd11/low_haze_rain", seed=3)``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from cea.config import parse
from cea.degradations.engine.draw import draw
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import Rendered, render
from cea.degradations.engine.shipped import find
from cea.degradations.exact.planes import as_rgb8
from cea.errors import ImageError
from cea.io.images import pixel_sha256, read_photo
from cea.levels import from_codes
from cea.rng import SampleKey
from cea.types import Image, ImageU8, Map

Recipe = str | Mapping[str, Any] | RecipeConfig
"""Name of a shipped recipe (``cdd11/low_haze``), or settings as under ``recipes`` of params.yaml, validated or not."""


class Sample(NamedTuple):
    """A degraded image.

    Attributes:
        image: (H, W, 3) RGB; float32 in [0, 1] where the clean one was of floats, else uint8.
        maps: (h, w) or (h, w, 3) float32 by name: ``<component>/severity``, ``haze/transmission``, ...
        record: every drawn number; with the clean image alone it renders the same pixels again.
    """

    image: Image
    maps: Mapping[str, Map]
    record: Record


def degrade(
    image: Image | PilImage.Image | str | Path,
    recipe: Recipe,
    seed: int = 0,
    *,
    uneven: bool = False,
    inverse_depth: Map | None = None,
    light: Map | None = None,
) -> Sample:
    """Draw a sample of ``recipe`` for ``image`` and render it.

    A pure function: the same image, recipe and seed give the same pixels on every machine, those that
    ``cea degrade --seed`` writes among them. Pixels are rendered in 8 bits.

    Args:
        image: clean; (H, W, 3) RGB or (H, W) grey, uint8, uint16 or float in [0, 1]; an image of Pillow; or a file,
            which is laid over white where it is transparent.
        recipe: a name such as ``cdd11/low_haze_rain``, or settings: ``{"nodes": {"haze": {"beta": [1, 2]}}}``.
        seed: of all draws.
        uneven: whether smooth fields drive the strengths over the image.
        inverse_depth: the scene's own, (h, w) in [0, 1], near = 1; None: procedural.
        light: the scene's own illumination, (h, w) in [0, 1]; None: made from the image.

    Raises:
        ConfigError: an unknown recipe, or settings that are not valid.
        ImageError: an image or map that cannot be used.
    """
    clean = as_clean(image)
    name, config = as_recipe(recipe)
    record, rendered = drawn_and_rendered(
        clean, name, config, seed, uneven=uneven, inverse_depth=inverse_depth, light=light
    )
    is_float = isinstance(image, np.ndarray) and image.dtype.kind == "f"
    made = from_codes(rendered.degraded) if is_float else rendered.degraded
    return Sample(made, dict(named_maps(record, rendered)), record)


def as_recipe(recipe: Recipe) -> tuple[str, RecipeConfig]:
    """The name under which a recipe is recorded, and its validated settings.

    Raises:
        ConfigError: an unknown name, or settings that are not valid.
    """
    if isinstance(recipe, str):
        return find(recipe)
    return "recipe", recipe if isinstance(recipe, RecipeConfig) else parse(RecipeConfig, dict(recipe), "recipe")


def as_clean(image: Image | PilImage.Image | str | Path) -> ImageU8:
    """The clean pixels of an array, an image of Pillow or a file, (H, W, 3) uint8.

    Raises:
        ImageError: no image.
    """
    if isinstance(image, str | Path):
        return as_rgb8(read_photo(Path(image)).over_white())
    if isinstance(image, PilImage.Image):
        return np.asarray(image.convert("RGB"))
    return as_rgb8(image)


def drawn_and_rendered(
    clean: ImageU8,
    name: str,
    recipe: RecipeConfig,
    seed: int,
    *,
    uneven: bool,
    inverse_depth: Map | None,
    light: Map | None,
    clean_id: str = "image",
) -> tuple[Record, Rendered]:
    """A whole image's record and its pixels with all maps.

    Raises:
        ImageError: maps of another aspect than the image.
    """
    for values, what in ((inverse_depth, "depth map"), (light, "light map")):
        _check_aspect(values, clean, what)
    record = draw(
        name,
        recipe,
        SampleKey(seed, pixel_sha256(clean), name, 0),
        clean_id=clean_id,
        split="test",
        crop=None,
        nonuniform=uneven,
        inverse_depth=inverse_depth,
        light=light,
        clean=lambda: clean,
    )
    return record, render(record, clean, inverse_depth=inverse_depth, light=light, labels=True)


def named_maps(record: Record, rendered: Rendered) -> Mapping[str, NDArray[np.float32]]:
    """The maps of a sample that was rendered with labels, the severity of each component first."""
    severity = zip((f"{node.label}/severity" for node in record.nodes), rendered.severity, strict=True)
    return {**dict(severity), **rendered.labels}


def _check_aspect(values: Map | None, clean: ImageU8, what: str) -> None:
    """Maps may be of another size, not of another shape: they are stretched over the photograph."""
    if values is None:
        return
    (height, width), (rows, columns) = clean.shape[:2], values.shape[:2]
    if abs(height * columns - width * rows) > max(height, width, rows, columns):
        raise ImageError(
            f"a {what} of {columns}x{rows} for a photograph of {width}x{height} pixels",
            expected="the same aspect",
            remedy="pass the map of this photograph, not turned or cropped",
        )
