"""A trained restorer as MLflow loads it: ``mlflow.pyfunc.load_model``. Knows nothing of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANGES_NO_RESULT = True


class ServedRestorer:
    """Restores photographs.

    Args:
        weights: a ``.safetensors`` file.
    """

    def __init__(self, weights: Path) -> None:
        from cea.models.checkpoint import load_weights

        self._model, _ = load_weights(weights)

    def predict(self, images: NDArray[Any], params: dict[str, Any] | None = None) -> NDArray[np.uint8]:
        """Restore a batch.

        Args:
            images: (N, H, W, 3) uint8 RGB.
            params: none are known.

        Returns:
            The same shape and type.
        """
        from cea.inference import restore, tile_for
        from cea.levels import to_uint8

        restored = (restore(self._model, image, tile=tile_for(image, None)) for image in images)
        return np.stack([to_uint8(image) for image in restored])


def _load_pyfunc(path: str) -> ServedRestorer:
    """What MLflow calls, with the file that was logged or its folder."""
    place = Path(path)
    return ServedRestorer(next(place.glob("*.safetensors")) if place.is_dir() else place)
