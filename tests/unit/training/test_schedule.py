"""The shape of the learning rate."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cea.training.config import TrainConfig
from cea.training.schedule import lr_factor


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
