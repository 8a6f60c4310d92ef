"""Training end to end on toy shards: resume after a kill, averaged weights, quiet output."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cea.errors import ConfigError, DataError
from cea.models.checkpoint import load_weights
from cea.models.config import ModelConfig
from cea.training.config import TrainConfig
from cea.training.fit import FitResult, Job, fingerprint, fit
from tests.toy_shards import write_toy_shards

MODEL = ModelConfig(width=8, rank=4, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
TRAIN = TrainConfig(
    max_steps=25,
    val_interval=10,
    batch=3,
    patch=16,
    warmup_steps=3,
    log_interval=5,
    val_crop=32,
    workers=0,
    device="cpu",
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for split, seed in (("train", 0), ("val", 1)):
        for recipe in ("dark", "dim"):
            write_toy_shards(folder / split / recipe, samples=3, size=32, seed=seed)
    return folder


def make_job(shards: Path, folder: Path) -> Job:
    train, val = (tuple(sorted((shards / split).iterdir())) for split in ("train", "val"))
    return Job(train=train, val=val, output=folder / "out", state=folder / "state", seed=3)


@pytest.fixture(scope="module")
def undisturbed(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return fit(make_job(shards, tmp_path_factory.mktemp("undisturbed")), TRAIN, MODEL, progress=False)


def same_weights(left: Path, right: Path) -> bool:
    a, b = load_file(left), load_file(right)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_result_says_what_came_out(undisturbed: FitResult) -> None:
    assert undisturbed.steps == TRAIN.max_steps
    assert [step for step, _ in undisturbed.history["val/gain_psnr"]] == [10, 20, 25]
    assert [step for step, _ in undisturbed.history["train/loss"]] == [5, 10, 15, 20, 25]
    assert undisturbed.best_gain_psnr == max(gain for _, gain in undisturbed.history["val/gain_psnr"])
    assert set(undisturbed.adapters) == {"encoder_0", "middle", "decoder_0"}
    _, metadata = load_weights(undisturbed.weights)
    assert metadata == {"step": undisturbed.best_step, "val_gain_psnr": undisturbed.best_gain_psnr}
    assert not (undisturbed.weights.parents[1] / "state").exists()


def test_training_helps(undisturbed: FitResult) -> None:
    losses = [loss for _, loss in undisturbed.history["train/loss"]]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("moment", [("train/loss", 5), ("train/loss", 15), ("val/gain_psnr", 20)])
def test_killed_run_goes_on_to_the_same_weights(
    moment: tuple[str, int], shards: Path, undisturbed: FitResult, tmp_path: Path, root: Path
) -> None:
    script = f"""
import os, signal
from pathlib import Path
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_fit import MODEL, TRAIN, fit, make_job
def report(step, values):
    if step == {moment[1]} and {moment[0]!r} in values:
        os.kill(os.getpid(), signal.SIGKILL)
fit(make_job(Path({str(shards)!r}), Path({str(tmp_path)!r})), TRAIN, MODEL, report=report, progress=False)
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    seen: list[int] = []
    result = fit(make_job(shards, tmp_path), TRAIN, MODEL, report=lambda step, _: seen.append(step), progress=False)
    assert min(seen) > moment[1] - TRAIN.val_interval  # no more than one interval is done again
    assert same_weights(result.weights, undisturbed.weights)
    assert same_weights(result.last, undisturbed.last)
    assert {name: curve for name, curve in result.history.items() if "steps_per_s" not in name} == {
        name: curve for name, curve in undisturbed.history.items() if "steps_per_s" not in name
    }
