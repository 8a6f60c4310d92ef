"""The estimate before long work: pixels are counted as they pass the network, and the speed is measured."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cea.inference import restore
from cea.io.images import write_image
from cea.restoring import outlook as module
from cea.restoring.outlook import megapixels_per_second, outlook, passed_pixels, picture_size


class Counter(nn.Module):
    """A network of one parameter that counts the pixels it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.pixels = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.pixels += image.shape[-2] * image.shape[-1]
        return image * self.scale


@pytest.mark.parametrize(
    ("height", "width", "tile"), [(100, 90, 0), (100, 90, 128), (300, 500, 128), (700, 512, 256), (1500, 1600, None)]
)
def test_pixels_are_counted_as_they_pass_the_network(height: int, width: int, tile: int | None):
    network = Counter()
    side = tile if tile is not None else 512
    restore(network, np.zeros((height, width, 3), np.uint8), tile=side or None)
    assert passed_pixels(height, width, tile) == pytest.approx(network.pixels, rel=0.1)


def test_images_of_up_to_two_megapixels_pass_whole():
    assert passed_pixels(1080, 1920) == 1080 * 1920
    assert passed_pixels(2000, 3000) > 2 * 2000 * 3000


def test_the_faster_of_two_passes_counts_and_the_first_does_not(monkeypatch: pytest.MonkeyPatch):
    seconds = iter([9.0, 2.0, 0.5])
    monkeypatch.setattr(module, "_timed", lambda *_: next(seconds))
    network = Counter().train()
    assert megapixels_per_second(network) == pytest.approx(256 * 256 / 1e6 / 0.5)
    assert network.training


def test_a_header_gives_the_size_and_a_damaged_file_none(tmp_path: Path):
    write_image(tmp_path / "a.png", np.zeros((30, 50, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert picture_size(tmp_path / "a.png") == (30, 50)
    assert picture_size(tmp_path / "b.png") is None


def test_only_long_work_is_told_and_short_work_is_not_even_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_image(tmp_path / "a.png", np.zeros((1500, 1600, 3), np.uint8))
    write_image(tmp_path / "small.png", np.zeros((100, 100, 3), np.uint8))
    files = [tmp_path / "a.png", tmp_path / "a.png", tmp_path / "small.png"]
    monkeypatch.setattr(module, "megapixels_per_second", lambda _: 0.1)
    line = outlook(Counter(), files, then="scoring on top")
    assert line is not None
    assert re.fullmatch(r"3 images, 4\.8 megapixels: about \d+:\d\d \(timed here on 256x256 px\), scoring on top", line)
    monkeypatch.setattr(module, "megapixels_per_second", lambda _: 1000.0)
    assert outlook(Counter(), files) is None
    monkeypatch.setattr(module, "megapixels_per_second", lambda _: pytest.fail("timed"))
    assert outlook(Counter(), files[2:]) is None
