"""From an image to its restoration."""

from __future__ import annotations

import torch
from torch import nn

from cea.models.images import image_tensor
from cea.types import Image, ImageF


def restore(model: nn.Module, image: Image, *, tile: None = None) -> ImageF:
    """Restore one image, whole.

    Args:
        model: a network from ``cea.models`` (evaluated in its own precision, on its own device).
        image: (H, W, 3) RGB; uint8, uint16 (full range), or float in [0, 1].
        tile: reserved; only None, the whole image at once.

    Returns:
        (H, W, 3) float32 in [0, 1]. No pixel is lost, whatever the size.

    Raises:
        ImageError: another shape or dtype, an empty image, NaN, or floats outside [0, 1].
    """
    assert tile is None
    parameter = next(model.parameters())
    batch = image_tensor(image).to(device=parameter.device, dtype=parameter.dtype)
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            restored = model(batch)
    finally:
        model.train(training)
    return restored[0].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
