"""Degraded and clean pairs made while one trains, for training loops of any kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from cea.degradations.engine.draw import draw
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.render import render
from cea.degradations.tools.images import Recipe, as_clean, as_recipe
from cea.errors import ConfigError, DataError, ImageError
from cea.io.images import pixel_sha256
from cea.io.walk import find_pictures
from cea.levels import from_codes
from cea.rng import SampleKey, generator, stream
from cea.types import Image, ImageU8


class OnTheFly(Dataset[dict[str, Any]]):
    """Clean images, each degraded anew in every epoch by a recipe drawn from ``recipes``.

    A sample is a function of (seed, epoch, index) and of its image's pixels: workers, order and machine do not matter.
    Call `set_epoch` before each epoch, or every epoch gives the same samples.

    Args:
        images: a folder (searched with all folders below it), or files or arrays ((H, W, 3) RGB, uint8, uint16, or
            float in [0, 1]).
        recipes: one recipe, a list of them, or names to settings. A recipe is a shipped name (``cdd11/low_haze_rain``)
            or settings as under ``recipes`` of params.yaml.
        seed: of all draws.
        crop: side of a square cut out at a random place, in pixels; None for whole images.
        nonuniform_share: share of samples in which smooth fields drive the strengths.
        names: of the degraded and the clean image in a sample: ``("lq", "gt")`` for BasicSR and traiNNer.

    Items are dicts: under ``names`` float32 tensors (3, h, w) in [0, 1]; ``recipe``, its name; ``record``, every drawn
    number as JSON, from which `cea.degradations.engine.render.render` makes the same pixels.

    Raises:
        DataError: no image, or a folder that is none.
        ConfigError: no recipe, an unknown one, settings that are not valid, or a crop or share out of range.
    """

    def __init__(
        self,
        images: str | Path | Sequence[str | Path | Image],
        recipes: Recipe | Sequence[Recipe] | Mapping[str, Recipe],
        *,
        seed: int = 0,
        crop: int | None = None,
        nonuniform_share: float = 0.0,
        names: tuple[str, str] = ("degraded", "clean"),
    ) -> None:
        if crop is not None and crop < 1:
            raise ConfigError(f"crop = {crop}", expected="at least 1 pixel, or None", remedy="correct crop")
        if not 0 <= nonuniform_share <= 1:
            raise ConfigError(
                f"nonuniform_share = {nonuniform_share}",
                expected="a share from 0 to 1",
                remedy="correct nonuniform_share",
            )
        self._images = find_pictures(Path(images)).pictures if isinstance(images, str | Path) else list(images)
        if not self._images:
            raise DataError(
                f"{images}: no photographs" if isinstance(images, str | Path) else "no images",
                expected="at least one",
                remedy="name a folder of photographs, or pass some",
            )
        self._recipes = _named(recipes)
        self._seed, self._crop, self._nonuniform_share, self._names = seed, crop, nonuniform_share, names
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # workers that live on must see it change

    def set_epoch(self, epoch: int) -> None:
        """Samples are those of ``epoch`` (0, 1, ...) from here on, in workers that are at work already as well."""
        if epoch < 0:
            raise ConfigError(f"epoch = {epoch}", expected="0 or more", remedy="count epochs from 0")
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """The number of images."""
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The sample of image ``index`` in this epoch.

        Raises:
            ImageError: a file that cannot be read, or an image smaller than the crop.
        """
        place = range(len(self._images))[index]
        source, epoch = self._images[place], int(self._epoch)
        clean = as_clean(source)
        choice = generator(stream(self._seed, "on the fly", epoch, place))
        name, recipe = self._recipes[int(choice.integers(len(self._recipes)))]
        nonuniform = bool(choice.random() < self._nonuniform_share)
        record = draw(
            name,
            recipe,
            SampleKey(self._seed, pixel_sha256(clean), name, epoch * len(self) + place),
            clean_id=f"image_{place}",
            split="train",
            crop=_crop(clean, self._crop, source, choice),
            nonuniform=nonuniform,
            clean=lambda: clean,
        )
        made = render(record, clean)
        pixels = {key: _tensor(image) for key, image in zip(self._names, (made.degraded, made.clean), strict=True)}
        return {**pixels, "recipe": name, "record": record.model_dump_json()}


def _named(recipes: Recipe | Sequence[Recipe] | Mapping[str, Recipe]) -> list[tuple[str, RecipeConfig]]:
    if isinstance(recipes, str | RecipeConfig) or (isinstance(recipes, Mapping) and "nodes" in recipes):
        return [as_recipe(recipes)]
    if isinstance(recipes, Mapping):
        named = [(name, as_recipe(recipe)[1]) for name, recipe in recipes.items()]
    else:
        named = [as_recipe(recipe) for recipe in recipes]
    if not named:
        raise ConfigError("no recipes", expected="at least one", remedy="name one, such as cdd11/low_haze")
    return named


def _crop(
    clean: ImageU8, side: int | None, source: str | Path | Image, rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """[top, left, height, width] of a square at a random place."""
    if side is None:
        return None
    height, width = clean.shape[:2]
    if min(height, width) < side:
        label = source if isinstance(source, str | Path) else "an image"
        raise ImageError(
            f"{label}: {width}x{height} pixels",
            expected=f"at least {side}x{side}, the crop",
            remedy="leave it out, or make the crop smaller",
        )
    top, left = (int(rng.integers(length - side + 1)) for length in (height, width))
    return top, left, side, side


def _tensor(image: ImageU8) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(from_codes(image).transpose(2, 0, 1)))
