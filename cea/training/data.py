"""The training and validation loaders of one run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from cea.data.labels import check_recorded
from cea.data.loaders import (
    Patch,
    PatchDataset,
    PatchSequence,
    PatchSpec,
    ShardPairs,
    StepSampler,
    as_tensor,
    centre_crop,
)
from cea.data.summary import LOCAL, Place
from cea.errors import ConfigError, DataError, InputError
from cea.training.config import TrainConfig
from cea.training.processes import ALONE, Processes
from cea.training.schedule import patch_stages

_MB = 1 << 20
_SHARED = Path("/dev/shm")

REPEATED = -1
"""In the place of a recipe's number: an image that another process judges."""


class ValidationImages(Dataset[tuple[Tensor, Tensor, int]]):
    """The central crops of the first images of each folder, recipe by recipe, kept in memory."""

    def __init__(self, folders: tuple[Path, ...], config: TrainConfig, place: Place = LOCAL) -> None:
        self.pairs = ShardPairs(folders, place=place)
        self.crop = config.val_crop
        self.places = [
            (group, row)
            for group, rows in enumerate(self.pairs.rows)
            for row in range(min(len(rows), config.val_images))
        ]
        self._kept: dict[int, tuple[Tensor, Tensor, int]] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, int]:
        """Degraded and clean, (1, 3, h, w) uint8, and the number of the recipe."""
        if number not in self._kept:
            group, row = self.places[number]
            clean, degraded = (as_tensor(centre_crop(image, self.crop))[None] for image in self.pairs.pair(group, row))
            self._kept[number] = degraded, clean, group
        return self._kept[number]


class _Telling(Dataset[Patch]):
    """Batches of a data set, or what was wrong: of errors raised in another process PyTorch keeps the text only."""

    def __init__(self, dataset: Dataset[Patch]) -> None:
        self.dataset = dataset

    def __getitems__(self, orders: list[PatchSpec]) -> list[Patch] | InputError:
        try:
            return [self.dataset[order] for order in orders]
        except InputError as error:
            return error


def _collate(patches: list[Patch] | InputError) -> Any:
    return patches if isinstance(patches, InputError) else default_collate(patches)


@contextmanager
def _shared_memory() -> Iterator[None]:
    """Tell a full /dev/shm by its name: PyTorch says "Bus error", or twenty lines of its own code.

    Raises:
        DataError: naming the place and what is free there.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        full = "No space left on device" in str(error) and ("shared memory" in str(error) or isinstance(error, OSError))
        if not full and "killed by signal: Bus error" not in str(error):
            raise
        free = shutil.disk_usage(_SHARED).free / 2**20 if _SHARED.is_dir() else 0
        raise DataError(
            f"{_SHARED}: no room for the batches that decoding processes hand over ({free:.1f} MiB free)",
            expected="shared memory for two batches per process",
            remedy="train.workers: 0, or more of it: docker run --shm-size=1g",
        ) from None


class TimedLoader(DataLoader[Patch]):
    """A loader that counts the time for which the training waits for it; an `InputError` of a worker arrives as such.

    Attributes:
        waited: seconds so far.

    Iterating raises a DataError where its processes find no room in the shared memory.
    """

    waited = 0.0

    def __init__(self, dataset: Dataset[Patch], **options: Any) -> None:
        super().__init__(_Telling(dataset), collate_fn=_collate, **options)

    def __iter__(self) -> Iterator[Patch]:  # type: ignore[override]
        with _shared_memory():
            batches = super().__iter__()
        while True:
            start = time.perf_counter()
            with _shared_memory():
                batch = next(batches, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                return
            if isinstance(batch, InputError):
                raise batch
            yield batch


class RestorationData(LightningDataModule):
    """Batches of one run; the training loader is made anew for each stretch between two validations.

    Args:
        train, val: shard folders, one per recipe.
        config: how to train.
        seed: of the sequence of patches.
        severity: components whose labels come with the training patches; none: no label is read.
        processes: that train together; each gets its share of each batch, and of the validation images.
        place: where the tars of both are.

    Raises:
        ConfigError: a component that no training sample has, or a batch that cannot be shared out equally.
    """

    def __init__(
        self,
        train: tuple[Path, ...],
        val: tuple[Path, ...],
        config: TrainConfig,
        seed: int,
        severity: tuple[str, ...] = (),
        processes: Processes = ALONE,
        place: Place = LOCAL,
    ) -> None:
        super().__init__()
        _check_shares(config, processes)
        self.processes = processes
        self.config = config
        self.severity = severity
        self.validation = ValidationImages(val, config, place)
        skip = config.remote.damaged == "skip"
        self.pairs = ShardPairs(train, cache_bytes=config.cache_mb * _MB, place=place, skip=skip)
        recorded = (names for rows in self.pairs.rows for names in rows.components())
        check_recorded(severity, chain.from_iterable(recorded))
        sizes = tuple(len(rows) for rows in self.pairs.rows)
        self.sequence = PatchSequence(
            sizes,
            config.batch // processes.size,
            seed,
            processes.rank,
            processes.size,
            transpose=config.transpose,
            grey_share=config.grey_share,
            tone_share=config.tone_share,
            stages=patch_stages(config, processes.size),
        )

    def train_dataloader(self) -> TimedLoader:
        """Batches from the trainer's current step to its next validation, or to the end."""
        assert self.trainer is not None
        start = self.trainer.global_step
        steps = range(start, min(start + self.config.val_interval, self.config.steps))
        return TimedLoader(
            PatchDataset(self.pairs, self.config.patch, self.severity),
            batch_sampler=StepSampler(self.sequence, steps, self.config.accumulate),
            num_workers=self.config.workers,
            pin_memory=torch.cuda.is_available() and self.config.device != "cpu",
        )

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, int]]:
        """One image at a time, whatever its size; of those that several processes share, each comes once.

        Each process gets as many. Where they do not divide, the last one is `REPEATED`, and counts nowhere.
        """
        size, rank = self.processes.size, self.processes.rank
        rounds = -(-len(self.validation) // size)
        return DataLoader(_Share(self.validation, [turn * size + rank for turn in range(rounds)]), batch_size=None)


class _Share(Dataset[tuple[Tensor, Tensor, int]]):
    """Some of the validation images, by their numbers; a number beyond the last repeats that one."""

    def __init__(self, images: ValidationImages, numbers: list[int]) -> None:
        self.images = images
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor, int]:
        number = self.numbers[place]
        if number < len(self.images):
            return self.images[number]
        return *self.images[len(self.images) - 1][:2], REPEATED


def _check_shares(config: TrainConfig, processes: Processes) -> None:
    shares = processes.size * config.accumulate
    if config.batch % shares:
        parts = f", in {config.accumulate} parts each (train.accumulate)" if config.accumulate > 1 else ""
        raise ConfigError(
            f"train.batch = {config.batch}: {processes.size} processes share it{parts}",
            expected=f"a multiple of {shares}",
            remedy=f"set train.batch to {-(-config.batch // shares) * shares}, or train with fewer processes",
        )
