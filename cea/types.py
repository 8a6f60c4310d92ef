"""Names shared by every room."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[Any]
"""(H, W, 3) RGB; the dtype and range are stated where it is used."""

ImageU8: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) RGB, uint8, 0..255."""

ImageF: TypeAlias = NDArray[np.floating[Any]]
"""(H, W, 3) RGB, floating point, nominally [0, 1]."""

Map: TypeAlias = NDArray[np.floating[Any]]
"""(H, W), floating point, nominally [0, 1]."""

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
