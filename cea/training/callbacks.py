"""What happens beside the steps: curves, the best weights, the point to resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from cea.errors import ConfigError
from cea.models.checkpoint import weights_as_bytes
from cea.models.diagnostics import adapter_statistics
from cea.training.data import TimedLoader
from cea.training.module import RestorationModule
from cea.training.processes import ALONE, Processes, of_all
from cea.training.schedule import time_share
from cea.training.state import keep

Report = Callable[[int, Mapping[str, float]], None]
"""Called with the number of steps done and the values at that step."""

History = dict[str, list[tuple[int, float]]]
"""Curves by name: (step, value) in the order of the steps."""


TIMINGS = frozenset({"train/steps_per_s", "train/wait_share"})
"""Curves that depend on the machine and its load, not on the run's configuration."""


class Curves(Callback):
    """Keeps the training curves, across resumed runs, and reports each point.

    Points hold ``train/loss`` (mean since the last point), ``train/lr`` (of AdamW), ``train/grad_norm`` (before
    clipping), ``train/steps_per_s`` and ``train/wait_share`` (share of the time spent waiting for data); whatever else
    is passed to ``add`` joins them.

    Args:
        interval: steps between points.
        report: called for each point.
        processes: that train together; loss and time are means over them, so that all of them see the same.
    """

    def __init__(self, interval: int, report: Report | None = None, processes: Processes = ALONE) -> None:
        self.interval = interval
        self.report = report
        self.processes = processes
        self.history: History = {}
        self.seconds = 0.0
        self._losses: list[Tensor] = []
        self._since = time.perf_counter()
        self._waited = 0.0

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Keep and report ``values`` at ``step``."""
        for name, value in values.items():
            self.history.setdefault(name, []).append((step, value))
        if self.report is not None:
            self.report(step, values)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that had used up its hours before it was stopped has nothing left to train."""
        assert isinstance(pl_module, RestorationModule)
        trainer.should_stop |= time_share(pl_module.config, self.seconds) >= 1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock (validation and start-up are not training time)."""
        self._losses.clear()
        self._since, self._waited = time.perf_counter(), _waited(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a point every ``interval`` steps and at the end of a stretch."""
        self._losses.append(outputs["loss"].detach())
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # a part of a batch
        if trainer.global_step % self.interval == 0 or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._take(trainer, pl_module)

    def _take(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RestorationModule)
        parts = trainer.accumulate_grad_batches
        loss = float(torch.stack(self._losses).mean()) * parts  # of which each is a share
        now, waited = time.perf_counter(), _waited(trainer)
        everyone = of_all((loss, now - self._since), self.processes)
        loss, seconds = (fmean(values) for values in zip(*everyone, strict=True))
        if not math.isfinite(loss):
            raise ConfigError(
                f"train.lr = {pl_module.config.lr:g}: the loss is {loss} after step {trainer.global_step}",
                expected="a finite loss",
                remedy="lower train.lr, train.muon_lr or train.clip_norm, or lengthen train.warmup_steps",
            )
        values = {
            "train/loss": loss,
            "train/lr": float(trainer.optimizers[0].param_groups[-1]["lr"]),
            "train/grad_norm": float(pl_module.grad_norm),
            "train/steps_per_s": len(self._losses) / parts / seconds,
            "train/wait_share": min(1.0, (waited - self._waited) / (now - self._since)),
        }
        self.seconds += seconds
        trainer.should_stop |= time_share(pl_module.config, self.seconds) >= 1
        self._losses.clear()
        self._since, self._waited = now, waited
        self.add(trainer.global_step, values)

    def state_dict(self) -> dict[str, Any]:
        """The curves so far, for the checkpoint."""
        return {"history": self.history, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the curves of a checkpoint."""
        self.history = state_dict["history"]
        self.seconds = state_dict["seconds"]


def _waited(trainer: Trainer) -> float:
    loader = trainer.train_dataloader
    return loader.waited if isinstance(loader, TimedLoader) else 0.0


class BestWeights(Callback):
    """Keeps the averaged weights with the highest mean gain over the validation images, and those of the end.

    Must stand before the averaging callback: that one swaps the averaged weights in when validation starts and out in
    the same hook that this one writes them in.

    They are part of the checkpoint, and no file until the training ends: a digest of the one covers all.

    Args:
        curves: where each validation's gains and adapter statistics are added.
        metadata: further facts to write beside the weights.
        processes: that train together; each has judged its share of the images.

    Attributes:
        files: ``best.safetensors`` and ``last.safetensors``, as bytes; in the first process alone, as ``adapters``.
    """

    def __init__(self, curves: Curves, metadata: Mapping[str, Any] | None = None, processes: Processes = ALONE) -> None:
        self.processes = processes
        self.files: dict[str, bytes] = {}
        self.metadata = dict(metadata or {})
        self.curves = curves
        self.gain = -math.inf
        self.step = 0
        self.adapters: dict[str, dict[str, float]] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the averaged weights, which are in place now."""
        assert isinstance(pl_module, RestorationModule)
        shares = of_all(pl_module.gains, self.processes)  # of which fmean gives the same in any order
        gains = {recipe: fmean(gain for share in shares for gain in share[recipe]) for recipe in pl_module.gains}
        mean = fmean(gains.values())
        better = mean > self.gain
        if better:
            self.gain, self.step = mean, trainer.global_step
        if not self.processes.first:
            return
        self.adapters = adapter_statistics(pl_module.network, self._images(trainer))
        self.curves.add(trainer.global_step, _validation_values(mean, gains, self.adapters))
        metadata = {"step": trainer.global_step, "val_gain_psnr": mean, **self.metadata}
        self.files["last.safetensors"] = weights_as_bytes(pl_module.network, pl_module.network.config, metadata)
        if better:
            self.files["best.safetensors"] = self.files["last.safetensors"]

    def _images(self, trainer: Trainer) -> list[Any]:
        """One degraded validation image per recipe."""
        data = trainer.datamodule.validation  # type: ignore[attr-defined]
        first = {group: number for number, (group, _) in reversed(list(enumerate(data.places)))}
        return [data[number][0][0].permute(1, 2, 0).numpy() for number in sorted(first.values())]

    def state_dict(self) -> dict[str, Any]:
        """The best so far, for the checkpoint."""
        files = {name: torch.frombuffer(bytearray(data), dtype=torch.uint8) for name, data in self.files.items()}
        return {"gain": self.gain, "step": self.step, "adapters": self.adapters, "files": files}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best of a checkpoint."""
        self.gain, self.step, self.adapters = state_dict["gain"], state_dict["step"], state_dict["adapters"]
        self.files = {name: data.numpy().tobytes() for name, data in state_dict["files"].items()}


def _validation_values(
    mean: float, gains: Mapping[str, float], adapters: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    values = {"val/gain_psnr": mean} | {f"val/gain_psnr/{recipe}": gain for recipe, gain in gains.items()}
    for site, statistics in adapters.items():
        values |= {f"adapters/{site}/{name}": value for name, value in statistics.items() if name != "rank"}
    return values


class ResumePoint(Callback):
    """Writes a checkpoint to go on from, after each validation, whole or not at all; the first process does."""

    def __init__(self, folder: Path, processes: Processes = ALONE) -> None:
        self.folder = folder
        self.processes = processes

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the checkpoint."""
        if self.processes.first:
            keep(self.folder, trainer.global_step, trainer.save_checkpoint)
        else:
            trainer.save_checkpoint(self.folder)  # takes part, and writes nothing
