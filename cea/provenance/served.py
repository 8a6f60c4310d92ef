"""A trained restorer as MLflow loads it: ``mlflow.pyfunc.load_model``. Knows nothing of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ServedRestorer:
    """Restores photographs.

    Args:
        weights: a ``.safetensors`` file. An adapter or block of one's own that it names as ``module:Name`` is imported:
            loading a model from MLflow runs the model's code in any case, so that a store has to be trusted.
    """

    def __init__(self, weights: Path) -> None:
        from cea.restoring.restorer import Restorer

        self._restorer = Restorer.load(weights, device="cpu", trust_code=True)

    def predict(self, images: NDArray[Any], params: dict[str, Any] | None = None) -> NDArray[np.uint8]:
        """Restore a batch.

        Args:
            images: (N, H, W, 3) uint8 RGB.
            params: none are known.

        Returns:
            The same shape and type.
        """
        return np.asarray(self._restorer.restore(images))


def _load_pyfunc(path: str) -> ServedRestorer:
    """What MLflow calls, with the file that was logged or its folder."""
    place = Path(path)
    return ServedRestorer(next(place.glob("*.safetensors")) if place.is_dir() else place)
