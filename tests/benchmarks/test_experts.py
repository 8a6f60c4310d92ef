"""Experts of other images in the place of an image's own: who stands in for whom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import experts
from cea.evaluation.cases import Case, shard_cases
from cea.inference import restore
from cea.metrics.psnr import psnr
from cea.models.adapters.cea import Experts
from cea.models.checkpoint import save_weights
from cea.models.config import ModelConfig
from cea.models.network import build
from tests.toy_shards import write_toy_shards


def case(scene: str, recipe: str) -> Case:
    return Case(f"{scene}-{recipe}", recipe, scene, (recipe,), True, lambda: pytest.fail("not to be read"))


CASES = [case(scene, recipe) for scene in "abc" for recipe in ("haze", "rain")]
FOUND = [
    {"hyper": Experts(torch.full((1, 2, 3), float(number)), torch.full((1, 2, 3), -float(number)))}
    for number in range(6)
]


def value(statistics: experts.Statistics) -> float:
    routing, directions, *nothing = statistics["hyper"]
    assert nothing == [None, None]
    assert torch.equal(routing, -directions)
    assert routing.shape == (1, 2, 3)
    return float(routing.mean())


def test_an_image_keeps_its_own_or_gets_those_of_other_scenes():
    chosen = experts.choices(CASES, FOUND)
    assert value(chosen["own"](2)) == 2  # scene b, haze
    assert value(chosen["mean"](2)) == (0 + 1 + 4 + 5) / 4
    assert value(chosen["recipe mean"](2)) == (0 + 4) / 2
    assert {value(chosen["same recipe"](2)) for _ in range(40)} == {0, 4}
    assert {value(chosen["other"](2)) for _ in range(80)} == {0, 1, 4, 5}


def test_all_are_the_same_where_the_image_does_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A new network's experts move nothing: every stand-in is as good as the own, and that is what restoring gives."""
    config = ModelConfig(width=8)
    model = build(config, 0)
    with torch.no_grad():
        head = model.backbone.head.weight
        head.copy_(0.05 * torch.randn(head.shape, generator=torch.Generator().manual_seed(0)))
    save_weights(tmp_path / "new.safetensors", model, config, {})
    folders = [write_toy_shards(tmp_path / recipe, samples=2) for recipe in ("dark", "noisy")]
    means = experts.main(tmp_path / "new.safetensors", folders)
    pixels = [one.read() for one in shard_cases(folders)]
    gains = [
        psnr(restore(model, one.degraded), one.clean.astype(np.float32) / 255) - psnr(one.degraded, one.clean)
        for one in pixels
    ]
    assert len(set(means.values())) == 1
    assert means["own"] == pytest.approx(np.mean(gains), abs=1e-4)
    assert capsys.readouterr().out.startswith("4 images: own ")
