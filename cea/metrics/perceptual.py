"""LPIPS, through torchmetrics on torchvision's AlexNet: only where both the library and its weights are at hand.

Nothing is downloaded while an evaluation runs, and nothing stands in for what is absent: `load_lpips` says why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cea.extras import installing
from cea.levels import as_unit
from cea.types import Image, ImageF

LPIPS_SIDE = 64
"""Pixels; AlexNet's layers leave nothing of an image with a shorter side, which gets no LPIPS."""

Lpips = Callable[[Image | ImageF, Image | ImageF], float | None]
"""Two (H, W, 3) images, full scale 1 or 8 bits -> LPIPS (0: alike), None below `LPIPS_SIDE`. For any thread."""


@dataclass(frozen=True)
class Absent:
    """A score that cannot be had here: ``reason`` says what is missing and how to get it."""

    reason: str


def load_lpips() -> Lpips | Absent:
    """LPIPS with AlexNet (Zhang et al., "The unreasonable effectiveness of deep features", CVPR 2018), or why not."""
    if find_spec("torchvision") is None:
        return Absent(f"torchvision is not installed ({installing('perceptual')})")
    try:
        missing = missing_weights(import_module("torchvision.models").AlexNet_Weights.DEFAULT.url)
        if missing:
            return Absent(missing)
        metric = import_module("torchmetrics.image.lpip").LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
    except Exception as error:  # whatever a broken installation raises: it must cost the score, not the evaluation
        return Absent(f"torchvision does not work here ({type(error).__name__}: {str(error).splitlines()[0][:120]})")
    return _locked(metric.eval())


def missing_weights(*urls: str) -> str:
    """What to fetch where, if one of the files that PyTorch keeps of ``urls`` is not there; empty if all are."""
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    absent = [url for url in urls if not (folder / url.rpartition("/")[2]).is_file()]
    return f"no weights in {folder}: put {', '.join(absent)} there" if absent else ""


def _locked(metric: Any) -> Lpips:
    """``metric`` accumulates what it is given, so that two threads must not use it at once."""
    import torch

    lock = threading.Lock()

    def distance(a: Image | ImageF, b: Image | ImageF) -> float | None:
        if min(a.shape[:2]) < LPIPS_SIDE:
            return None
        tensors = [torch.from_numpy(_planes(image)) for image in (a, b)]
        with lock, torch.inference_mode():
            value = float(metric(*tensors))
            metric.reset()
        return value

    return distance


def _planes(image: Image | ImageF) -> Any:
    """(1, 3, H, W) float32 in [0, 1]."""
    return np.ascontiguousarray(np.clip(as_unit(image), 0, 1).astype(np.float32).transpose(2, 0, 1)[None])
