"""What the network makes of the validation images while it trains: a picture per validation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from cea.levels import to_uint8
from cea.training.data import ValidationImages
from cea.training.module import RestorationModule
from cea.types import ImageU8

CHANGES_NO_RESULT = True

Show = Callable[[int, ImageU8], None]
"""Called with the number of steps done and a picture, (H, W, 3) uint8."""

SIDE = 160
"""Height and width of an image in the picture, in pixels."""


class ValidationPictures(Callback):
    """After each validation, one row per recipe: input, restoration by the averaged weights, clean image.

    Must stand before the averaging callback, as ``BestWeights`` does.

    Args:
        show: takes the picture.
    """

    def __init__(self, show: Show) -> None:
        self.show = show

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and show; the averaged weights are in place now."""
        assert isinstance(pl_module, RestorationModule)
        images: ValidationImages = trainer.datamodule.validation  # type: ignore[attr-defined]
        self.show(trainer.global_step, picture(pl_module, images))


@torch.no_grad()
def picture(module: RestorationModule, images: ValidationImages) -> ImageU8:
    """The first validation image of each recipe in three states, (recipes * SIDE, 3 * SIDE, 3)."""
    first = {group: number for number, (group, _) in reversed(list(enumerate(images.places)))}
    rows = []
    for _, number in sorted(first.items()):
        degraded, clean = (module.unit(image.to(module.device)) for image in images[number][:2])
        rows.append(torch.cat([_square(image) for image in (degraded, module.network(degraded), clean)], dim=3))
    whole = torch.cat(rows, dim=2)[0].clamp(0, 1).float().cpu()
    return to_uint8(whole.permute(1, 2, 0).numpy())


def _square(image: Tensor) -> Tensor:
    """Its middle at full resolution, black around images that are smaller; (1, 3, SIDE, SIDE)."""
    height, width = image.shape[-2:]
    top, left = max(0, height - SIDE) // 2, max(0, width - SIDE) // 2
    crop = image[..., top : top + SIDE, left : left + SIDE]
    return F.pad(crop, (0, SIDE - crop.shape[-1], 0, SIDE - crop.shape[-2]))
