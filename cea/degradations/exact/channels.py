"""One channel at a time: the engine keeps images planar, OpenCV would make a copy with interleaved channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def per_channel(function: Callable[[NDArray[Any]], NDArray[Any]], image: NDArray[Any]) -> NDArray[Any]:
    """``function`` of each channel ((H, W) -> (h, w)) of ``image`` (H, W, C); (h, w, C), planar in memory."""
    channels = [function(np.ascontiguousarray(image[..., c])) for c in range(image.shape[2])]
    return np.stack(channels).transpose(1, 2, 0)
