"""The judge of recipes: what it degrades, and what it says of networks whose answer is known."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import recipes
from cea.config import parse
from cea.degradations.engine.recipes import RecipeConfig
from cea.io.images import write_image

NOISE = parse(RecipeConfig, {"order": "physical", "nodes": {"noise": {"sigma_255": 25}}}, "recipe")


class Nothing(nn.Module):
    """Gives back what it gets."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, image):
        return image + self.anchor


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(60, 200, (48, 64, 3), np.uint8) for _ in range(3)]


def test_odd_photographs_are_degraded_unevenly(images):
    pairs = recipes.degraded("noise", NOISE, [np.full_like(image, 128) for image in images])
    spread = [np.abs(pair.degraded - 128.0).reshape(6, 8, 8, 8, 3).mean(axis=(1, 3, 4)) for pair in pairs]
    even, uneven, again = (blocks.std() / blocks.mean() for blocks in spread)
    assert uneven > 2 * max(even, again)


def test_a_network_that_does_nothing_gains_nothing(images):
    pairs = {"noise": recipes.degraded("noise", NOISE, images)}
    told = recipes.judge_recipes(Nothing(), pairs, images)
    assert told["recipes"]["noise"] == pytest.approx(0, abs=1e-4)
    assert told["clean"] == told["clean_least"] == 80
    assert told["grey"] == pytest.approx(0, abs=1e-4)


def test_photographs_are_spread_over_the_folder_and_reduced(tmp_path):
    for number in range(5):
        write_image(tmp_path / f"{number}.png", np.full((40 * 16, 20 * 16, 3), 50 * number, np.uint8))
    chosen = recipes.photographs(tmp_path, 3)
    assert [int(image[0, 0, 0]) for image in chosen] == [0, 100, 200]
    assert {image.shape for image in chosen} == {(320, 160, 3)}
