"""The same scores from an independent implementation, scikit-image's: slower, and only for checking ours."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cea.levels import as_unit
from cea.metrics.protocol import Protocol, Score, judged, luma
from cea.metrics.ssim import SsimWindow
from cea.types import Image, ImageF

_OPTIONS: dict[SsimWindow, dict[str, Any]] = {
    "uniform": {},
    "gaussian": {"gaussian_weights": True, "use_sample_covariance": False},
    "gaussian-sample": {"gaussian_weights": True},
}


def reference_score(protocol: Protocol, prediction: Image | ImageF, target: Image) -> Score:
    """scikit-image's scores of ``prediction``; arguments as in `cea.metrics.protocol.score`."""
    predicted = as_unit(judged(protocol, prediction))
    wanted = as_unit(target if protocol.colour == "rgb" else luma(target))
    axis = -1 if predicted.ndim == 3 else None
    with np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # equal images: PSNR is inf
        ratio = float(peak_signal_noise_ratio(wanted, predicted, data_range=1))
    similarity = structural_similarity(wanted, predicted, data_range=1, channel_axis=axis, **_OPTIONS[protocol.window])
    return Score(ratio, float(similarity))
