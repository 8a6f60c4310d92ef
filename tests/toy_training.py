"""A small training on toy shards, as several tests make it: network, parameters, job."""

from __future__ import annotations

from pathlib import Path

from cea.models.config import ModelConfig
from cea.training.config import TrainConfig
from cea.training.fit import TrainingJob

MODEL = ModelConfig(width=8, rank=4, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
TRAIN = TrainConfig(batch=4, patch=16, warmup_steps=3, log_interval=1, val_crop=32, workers=0, device="cpu")


def make_job(shards: Path, folder: Path) -> TrainingJob:
    """Train on ``shards``/train/*, validate on ``shards``/val/*; outputs and state go into ``folder``."""
    train, val = (tuple(sorted((shards / split).iterdir())) for split in ("train", "val"))
    return TrainingJob(train=train, val=val, output=folder / "out", state=folder / "state", seed=3)
