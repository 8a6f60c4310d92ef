"""``train.patches``: a training whose patches grow, interrupted in the middle of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cea.models.config import ModelConfig
from cea.training import module
from cea.training.fit import fingerprint, fit
from tests import toy_training
from tests.toy_training import make_job

MODEL = ModelConfig(width=8, rank=2, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
TRAIN = toy_training.TRAIN.model_copy(
    update={
        "max_steps": 10,
        "val_interval": 4,
        "batch": 2,
        "patches": ((0.0, 8), (0.5, 16), (0.9, 24)),
        "warmup_steps": 2,
        "threads": 2,
    }
)


def test_it_goes_on_in_the_middle_as_if_nothing_had_been(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, ...]] = []
    step = module.RestorationModule.training_step

    def watched(self: module.RestorationModule, batch: tuple[torch.Tensor, ...], batch_idx: int) -> torch.Tensor:
        sizes.append(tuple(batch[0].shape))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(module.RestorationModule, "training_step", watched)
    whole = fit(make_job(shards, tmp_path / "whole"), TRAIN, MODEL, progress=False)
    assert sizes == 5 * [(8, 3, 8, 8)] + 4 * [(2, 3, 16, 16)] + [(1, 3, 24, 24)]

    def end(step: int, values: object) -> None:
        if step == 7:  # checkpoints are those of steps 4 and 8
            os.kill(os.getpid(), signal.SIGTERM)

    sizes.clear()
    with pytest.raises(SystemExit):
        fit(make_job(shards, tmp_path / "ended"), TRAIN, MODEL, report=end, progress=False)
    begun = len(sizes)
    again = fit(make_job(shards, tmp_path / "ended"), TRAIN, MODEL, progress=False)
    assert sizes[begun:] == [(8, 3, 8, 8)] + 4 * [(2, 3, 16, 16)] + [(1, 3, 24, 24)]
    assert again.last.read_bytes() == whole.last.read_bytes()
    weights = [load_file(result.weights) for result in (again, whole)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_what_decides_the_weights_is_recorded_where_it_is_used_alone(shards: Path, tmp_path: Path) -> None:
    """Without the key a run that began before there was one goes on."""
    without = TRAIN.model_copy(update={"patches": None})
    assert "patches" not in without.model_dump()
    assert fingerprint(make_job(shards, tmp_path), TRAIN, MODEL) != fingerprint(
        make_job(shards, tmp_path), without, MODEL
    )
