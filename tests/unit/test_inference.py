"""One image in, its restoration out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cea.errors import ImageError
from cea.inference import restore
from cea.models.config import ModelConfig
from cea.models.network import build


class Brighten(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor) -> Tensor:
        assert not self.training
        return image + self.amount


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (16, 16), (21, 34)])
def test_untrained_network_gives_the_image_back(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    restored = restore(build(ModelConfig(width=8)), image)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, image / 255, atol=1e-6)


def test_kinds_of_pixels_agree() -> None:
    eight = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    for same in (eight.astype(np.uint16) * 257, eight / 255, (eight / 255).astype(np.float32), eight[::-1][::-1]):
        np.testing.assert_allclose(restore(Brighten(), same), restore(Brighten(), eight), atol=1e-6)


def test_output_is_clipped_and_the_mode_kept() -> None:
    model = Brighten().train()
    restored = restore(model, np.full((2, 2, 3), 200, np.uint8))
    assert restored.max() == 1
    assert model.training


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"\(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.int32), "int32"),
        (np.full((4, 4, 3), 128.0), "from 128 to 128"),
        (np.full((4, 4, 3), np.nan), "nan"),
    ],
)
def test_unusable_images(image: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        restore(Brighten(), image)
