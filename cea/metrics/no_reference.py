"""Scores of photographs that have no clean original: what a kept library offers offline, and nothing in its place.

``blur_effect`` is scikit-image's (Crete et al., "The blur effect", SPIE 6492, 2007): 0 is sharp, 1 is blurred; noise
lowers it, too, so that it says something about smoothing and little about noise. ``arniqa`` is torchmetrics' (Agnolucci
et al., WACV 2024): 1 is best; it needs torchvision and two files of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from cea.extras import installing
from cea.levels import as_unit
from cea.metrics.perceptual import Absent, missing_weights
from cea.types import Image, ImageF

NoReference = Callable[[Image | ImageF], float]
"""(H, W, 3) -> the score."""

DIRECTIONS = {"blur_effect": "0 sharp, 1 blurred; noise lowers it, too", "arniqa": "1 is best"}
"""How each score is read."""

_ARNIQA = "https://github.com/miccunifi/ARNIQA/releases/download/weights"


def load_scores() -> tuple[dict[str, NoReference], dict[str, str]]:
    """The scores that can be had here, by name; and for the others, why not."""
    loaded = {"blur_effect": blur_effect, "arniqa": _load_arniqa()}
    scores = {name: score for name, score in loaded.items() if not isinstance(score, Absent)}
    return scores, {name: score.reason for name, score in loaded.items() if isinstance(score, Absent)}


def blur_effect(image: Image | ImageF) -> float:
    """scikit-image's ``blur_effect``: 0 sharp to 1 blurred."""
    from skimage.measure import blur_effect as measure

    return float(measure(np.clip(as_unit(image), 0, 1), channel_axis=-1))


def _load_arniqa() -> NoReference | Absent:
    if find_spec("torchvision") is None:
        return Absent(f"torchvision is not installed ({installing('perceptual')})")
    try:
        missing = missing_weights(f"{_ARNIQA}/ARNIQA.pth", f"{_ARNIQA}/regressor_koniq10k.pth")
        if missing:
            return Absent(missing)
        metric = import_module("torchmetrics.image.arniqa").ARNIQA("koniq10k", normalize=True)
    except Exception as error:  # as in `load_lpips`
        return Absent(f"torchvision does not work here ({type(error).__name__}: {str(error).splitlines()[0][:120]})")

    def score(image: Image | ImageF) -> float:
        import torch

        planes = np.clip(as_unit(image), 0, 1).astype(np.float32).transpose(2, 0, 1)[None]
        with torch.inference_mode():
            value = float(metric(torch.from_numpy(np.ascontiguousarray(planes))))
        metric.reset()
        return value

    return score
