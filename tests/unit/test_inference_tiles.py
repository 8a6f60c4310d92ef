"""In tiles: the same pixels as whole, in the memory of a tile."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cea.errors import ConfigError, ImageError
from cea.inference import DEFAULT_TILE, OVERLAP, SMALLEST_TILE, restore, spans, tile_for
from cea.metrics.psnr import psnr
from cea.models.adapters.cea import HyperAdapter
from cea.models.config import ModelConfig
from cea.models.global_context import GlobalMeans, recorded, reused
from cea.models.network import RestorationNetwork, build
from cea.models.tensors import image_tensor


class Blur(nn.Module):
    """A local operator: what it sees beyond its tile is padding."""

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.blur = nn.AvgPool2d(2 * reach + 1, stride=1, padding=reach, count_include_pad=False)
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        blurred: Tensor = self.blur(image)
        return blurred


class LessItsMean(GlobalMeans):
    """A global operator that says so."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))

    def measure(self, *maps: Tensor) -> Tensor:
        return maps[0].mean(dim=(2, 3), keepdim=True)

    def forward(self, image: Tensor) -> Tensor:
        return image - self.context(image) + 0.5


def scene(height: int, width: int) -> np.ndarray:
    """Bright top, dark bottom, with texture: no tile looks like another."""
    texture = np.random.default_rng(0).random((height, width, 3))
    return 0.25 * texture + 0.6 * np.linspace(1, 0, height)[:, None, None] * np.linspace(0.5, 1, width)[:, None]


def network() -> RestorationNetwork:
    """Random weights in all that starts at zero, strong enough to change the image visibly."""
    model = build(ModelConfig(width=12, residual_scale=1, sites=("encoder", "middle", "decoder")))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for adapter in model.backbone.adapters().values():
            directions = adapter.hyper.to_directions.weight  # type: ignore[union-attr]
            directions.copy_(torch.randn(directions.shape, generator=generator) * 0.05)
        head = model.backbone.head.weight
        head.copy_(torch.randn(head.shape, generator=generator) * 0.02)
    return model


@pytest.mark.parametrize("length", [1, 127, 128, 129, 200, 512, 1000])
@pytest.mark.parametrize("multiple", [1, 8])
def test_spans_cover_an_axis_evenly(length: int, multiple: int) -> None:
    found = spans(length, 128, multiple)
    total = np.zeros(length)
    for span in found:
        assert span.start % multiple == 0
        assert span.stop - span.start <= 128
        assert span.weight.shape == (span.stop - span.start,)
        total[span.start : span.stop] += span.weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    for before, after in itertools.pairwise(found):
        assert before.stop - after.start >= OVERLAP - multiple
        assert before.weight[-OVERLAP // 4 :].max() == 0
        assert after.weight[: OVERLAP // 4].max() == 0


@pytest.mark.parametrize("size", [(300, 411), (128, 500), (700, 90)])
def test_a_local_operator_gives_the_same_in_tiles(size: tuple[int, int]) -> None:
    model, image = Blur(reach=OVERLAP // 4), scene(*size)
    np.testing.assert_allclose(restore(model, image, tile=128), restore(model, image), atol=1e-5)


@pytest.mark.slow
def test_the_blending_hides_no_seam_of_an_operator_that_reaches_too_far() -> None:
    """The test above can fail: beyond the margin the tiles differ from the whole."""
    model, image = Blur(reach=OVERLAP), scene(129, 200)
    assert np.abs(restore(model, image, tile=128) - restore(model, image)).max() > 1e-3


def test_a_global_measure_is_that_of_the_image() -> None:
    image = scene(401, 500)
    whole, tiled = (restore(LessItsMean(), image, tile=tile) for tile in (None, 128))
    assert np.abs(whole - tiled).max() < 2e-3  # from every second pixel
    own = restore(LessItsMean(), image[:128, :128])
    assert np.abs(whole[:128, :128] - own).max() > 0.04


def test_tiles_agree_with_the_whole_image() -> None:
    model, image = network(), scene(900, 1200)
    whole, tiled = restore(model, image), restore(model, image, tile=256)
    changed = psnr(whole, image.astype(np.float32))
    assert changed < 35
    assert psnr(tiled, whole) > max(40, changed + 20)
    alone = restore(model, image[:256, :256])
    assert psnr(alone, whole[:256, :256]) < psnr(tiled[:256, :256], whole[:256, :256]) - 6


@pytest.mark.slow
def test_experts_of_each_tile_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above owes to CEA's experts being the image's: all else measured once, these tile by tile."""
    model, image = network(), scene(900, 1200)
    whole = restore(model, image)
    agreement = psnr(restore(model, image, tile=256), whole)
    monkeypatch.setattr(HyperAdapter, "context", HyperAdapter.measure)
    assert psnr(restore(model, image, tile=256), whole) < agreement - 6


def test_parts_measure_as_patches_do() -> None:
    """Where all parts are alike, their mean is what each measures; where they differ, the mean of all."""
    patch = scene(64, 64)
    model = network()
    alike = np.tile(patch, (3, 4, 1))
    found = restore(model, alike, parts=64)
    inner = slice(64, 128)
    with torch.inference_mode(), recorded(model.eval()) as statistics:
        model(image_tensor(patch))
    with torch.inference_mode(), reused(model, statistics):
        expected = model(image_tensor(alike))[0].permute(1, 2, 0).clamp(0, 1).numpy()
    np.testing.assert_allclose(found[inner, inner], expected[inner, inner], atol=1e-5)
    gradient = scene(256, 256)
    np.testing.assert_allclose(restore(LessItsMean(), gradient, parts=64), restore(LessItsMean(), gradient), atol=1e-5)


@pytest.mark.parametrize("size", [(20, 300), (300, 300)])
def test_parts_in_tiles(size: tuple[int, int]) -> None:
    model, image = network(), scene(*size)
    whole, tiled = (restore(model, image, tile=tile, parts=48) for tile in (None, 128))
    assert psnr(tiled, whole) > 60


def test_images_no_larger_than_a_tile_are_restored_whole() -> None:
    model, image = network(), scene(200, 256)
    assert np.array_equal(restore(model, image, tile=256), restore(model, image))


def test_the_default_is_whole_up_to_two_megapixels() -> None:
    small, large = (np.empty(shape, np.uint8) for shape in ((1080, 1920, 3), (1500, 2000, 3)))
    assert [tile_for(small), tile_for(large)] == [None, DEFAULT_TILE]
    assert [tile_for(small, 200), tile_for(large, 0)] == [200, None]


def test_unusable_tiles_and_images() -> None:
    with pytest.raises(ConfigError, match=str(SMALLEST_TILE)):
        restore(Blur(1), scene(300, 300), tile=SMALLEST_TILE - 1)
    with pytest.raises(ConfigError, match="parts = 0"):
        restore(Blur(1), scene(30, 30), parts=0)
    with pytest.raises(ImageError, match=r"\(900, 900\)"):
        restore(Blur(1), np.zeros((900, 900), np.uint8), tile=128)
    spoilt = scene(300, 300)
    spoilt[299, 299] = np.nan
    with pytest.raises(ImageError, match="nan"):
        restore(Blur(1), spoilt, tile=128)


MEMORY = """
import re
from pathlib import Path
import numpy as np, torch
from cea.inference import restore
from cea.models.config import ModelConfig
from cea.models.network import build

def peak_kib():  # not ru_maxrss: that one starts at the peak of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
model, image = build(ModelConfig()), np.zeros((1600, 2000, 3), np.uint8)
restore(model, image[:256, :256])
peak = [peak_kib()]
for tile in (256, None):
    restore(model, image, tile=tile)
    peak.append(peak_kib())
print(*(after - peak[0] for after in peak[1:]))
"""


@pytest.mark.slow
def test_memory_is_that_of_the_tile() -> None:
    output = subprocess.run([sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True).stdout
    tiled, whole = (int(kib) / 1024 for kib in output.split())
    assert tiled < 37 + 150, f"{tiled:.0f} MiB"  # the output, and a pass over four tiles
    assert whole > 2 * tiled, f"{whole:.0f} MiB whole, {tiled:.0f} in tiles"
