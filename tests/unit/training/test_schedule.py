"""The shape of the learning rate."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cea.config import parse
from cea.data.loaders import PatchStage
from cea.errors import ConfigError
from cea.training.config import TrainConfig
from cea.training.schedule import lr_factor, patch_stages


def factors(config: TrainConfig) -> list[float]:
    return [lr_factor(step, config) for step in range(config.max_steps)]


def test_warm_up_then_cosine_to_the_floor() -> None:
    curve = factors(TrainConfig(max_steps=1001, warmup_steps=100, lr_floor=0.1))
    assert curve[0] == pytest.approx(1 / 101)
    assert curve[100] == 1
    assert curve[-1] == pytest.approx(0.1)
    assert curve[550] == pytest.approx(0.55)  # half way down
    assert all(after > before for before, after in pairwise(curve[:101]))
    assert all(after < before for before, after in pairwise(curve[100:]))


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_short_runs_warm_up_for_at_most_half(steps: int) -> None:
    curve = factors(TrainConfig(max_steps=steps, warmup_steps=100))
    assert all(0 < factor <= 1 for factor in curve)
    assert max(curve) == 1


def test_sized_to_the_run() -> None:
    short, long = (factors(TrainConfig(max_steps=steps, warmup_steps=0)) for steps in (101, 1001))
    assert short[50] == pytest.approx(long[500])


def test_a_limit_in_hours_brings_the_end_forward() -> None:
    """Whatever is nearer to its end counts: the steps or the time."""
    config = TrainConfig(max_steps=1001, warmup_steps=0, lr_floor=0.1, max_hours=1)
    assert lr_factor(500, config, 0) == pytest.approx(0.55)
    assert lr_factor(500, config, 1700) == pytest.approx(0.55)
    assert lr_factor(10, config, 1800) == pytest.approx(0.55)
    assert lr_factor(10, config, 4000) == pytest.approx(0.1)
    assert lr_factor(500, TrainConfig(max_steps=1001, warmup_steps=0, lr_floor=0.1), 1e9) == pytest.approx(0.55)


def growing(*patches: list[float], **changes: object) -> TrainConfig:
    return parse(TrainConfig, {"max_steps": 100, "batch": 8, "patch": 96, "patches": patches, **changes}, "train")


def test_larger_patches_come_in_smaller_batches() -> None:
    """Nearest to the pixels of 8 patches of 96."""
    stages = patch_stages(growing([0, 64], [0.6, 96], [0.85, 128], [0.99, 512]))
    assert stages == (PatchStage(0, 18, 64), PatchStage(60, 8, 96), PatchStage(85, 4, 128), PatchStage(99, 1, 512))
    assert patch_stages(TrainConfig()) == ()


def test_processes_and_parts_of_a_batch_stay_equal() -> None:
    assert patch_stages(growing([0, 64], [0.5, 128]), processes=2) == (PatchStage(0, 9, 64), PatchStage(50, 2, 128))
    with pytest.raises(ConfigError, match=r"train.patches: 18 patches of 64 pixels, which 4 processes share"):
        patch_stages(growing([0, 64], [0.5, 128]), processes=4)
    parts = patch_stages(growing([0, 64], [0.5, 128], accumulate=4))
    assert [stage.batch for stage in parts] == [16, 4]


def test_stages_too_short_for_a_step_are_left_out() -> None:
    assert [stage.side for stage in patch_stages(growing([0, 64], [0.4, 96], [0.45, 128], max_steps=2))] == [64, 128]


@pytest.mark.parametrize(
    "patches", [[], [[0.1, 64]], [[0, 64], [0.5, 96], [0.5, 128]], [[0, 64], [1, 96]], [[0, 4]], [[0, 4096]]]
)
def test_growing_patches_begin_at_the_start_and_rise(patches: list[list[float]]) -> None:
    with pytest.raises(ConfigError, match="shares rising from 0"):
        growing(*patches)


def test_growing_patches_go_by_steps() -> None:
    with pytest.raises(ConfigError, match="patches without max_hours"):
        growing([0, 64], max_hours=1.0)
