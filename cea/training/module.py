"""The LightningModule: loss, optimiser, schedule and validation around a network that knows none of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cea.data.labels import FULL, UNKNOWN
from cea.decibels import psnr_of
from cea.losses import RestorationLoss, at_least_single, log_error_l1, severity_loss
from cea.models.blocks.nafnet import fuse
from cea.models.network import ERROR_UNIT, RestorationNetwork, pad_to_multiple
from cea.models.tensors import unit_batch
from cea.training.config import TrainConfig
from cea.training.data import REPEATED
from cea.training.optimizer import MuonAdamW, parameter_groups
from cea.training.schedule import lr_factor
from cea.training.thread_parallel import Shares

COMPILER = "inductor"
"""Backend of ``torch.compile``."""

SMALLEST_MSE = 1e-10
"""Floor of the mean squared error, so that PSNR stays finite: 100 dB."""


class RestorationModule(LightningModule):
    """Trains ``network`` on batches (degraded, clean) of uint8 patches, with (labels,) where it has a severity head.

    Args:
        network: from ``cea.models.network.build``.
        config: how to train.
        recipes: names of the validation sets, by the number that comes with each validation batch.
        seconds: called for how long the training has taken so far, as ``max_hours`` counts.

    Attributes:
        gains: of the latest validation, dB per image by recipe.
        grad_norm: of the latest step, before clipping.
        fused: blocks that train as one operator each, for ``fast``.
    """

    def __init__(
        self,
        network: RestorationNetwork,
        config: TrainConfig,
        recipes: tuple[str, ...] = (),
        seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        super().__init__()
        self.seconds = seconds
        self.network = network
        self.config = config
        self.recipes = recipes
        self.loss = RestorationLoss(config.fft_weight, config.loss_balance)
        self.gains: dict[str, list[float]] = {}
        self.grad_norm = torch.tensor(float("nan"))
        # Only the training step is compiled: validation sees another shape with every image, diagnostics hook modules.
        self._compiled = torch.compile(network.judged, backend=COMPILER) if config.compile else None
        self.fused = fuse(network) if config.fast else 0
        self._shares: Shares | None = None
        self._half = False

    def on_train_start(self) -> None:
        """Start the threads, where there is a choice of them."""
        plain = self.device.type == "cpu" and not self._compiled
        self._half = self.trainer.precision == "bf16-mixed"
        self._shares = Shares(self.config.threads) if plain and self.config.threads > 1 else None

    def on_train_end(self) -> None:
        """End the threads."""
        if self._shares:
            self._shares.close()
        self._shares = None

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        batch = *(self.unit(images) for images in batch[:2]), *batch[2:]
        if self._shares:
            return self._shares.loss(self._loss, list(self.network.parameters()), *batch)
        return self._loss(*batch)

    def unit(self, images: Tensor) -> Tensor:
        """As the network takes them: (B, 3, H, W) in [0, 1], single precision unless it is in double."""
        return unit_batch(images).to(next(self.network.parameters()).dtype)

    def _loss(self, degraded: Tensor, clean: Tensor, labels: Tensor | None = None) -> Tensor:
        # A thread does not inherit the autocast that Lightning opens around the step.
        with torch.autocast(degraded.device.type, torch.bfloat16, enabled=self._half):
            judged = self._compiled(degraded) if self._compiled else self.network.judged(degraded)
        loss: Tensor = self.loss(judged.restored, clean, degraded)
        if judged.log_error is not None:
            loss = loss + self.config.error_weight * log_error_l1(judged.log_error, degraded, clean, ERROR_UNIT)
        if judged.severity_logits is not None:
            assert labels is not None
            recorded, known = self._cells(labels)
            loss = loss + self.config.severity_weight * severity_loss(judged.severity_logits, recorded, known)
        return loss

    def _cells(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Labels (B, K, H, W) to severities in [0, 1] and how far they are known, each a mean over cells of the stem.

        Padded as the network pads its input.
        """
        padded = pad_to_multiple(labels.float(), self.network.size_multiple)
        known = (padded != UNKNOWN).float()
        shares, sums = (F.avg_pool2d(maps, self.network.config.stem) for maps in (known, known * padded / FULL))
        return sums / shares.clamp_min(torch.finfo(shares.dtype).eps), shares

    def on_validation_epoch_start(self) -> None:
        """Forget the gains of the validation before."""
        self.gains = {recipe: [] for recipe in self.recipes}

    def validation_step(self, batch: tuple[Tensor, Tensor, int], batch_idx: int) -> None:
        """Note the gain in PSNR (dB) of some images of one recipe over their input."""
        degraded, clean = (self.unit(images) for images in batch[:2])
        restored = at_least_single(self.network(degraded)).clamp(0, 1)
        if batch[2] == REPEATED:
            return
        gains = psnr(restored, clean) - psnr(degraded, clean)
        self.gains[self.recipes[batch[2]]] += gains.tolist()

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by norm, and keep the norm before clipping for the curves."""
        self.grad_norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser of ``config.optimizer``, and the schedule, stepped per batch."""
        muon_lr = self.config.muon_lr if self.config.optimizer == "muon" else None
        groups = parameter_groups(self.network, self.config.weight_decay, muon_lr)
        optimizer = MuonAdamW(groups, lr=self.config.lr, betas=(0.9, 0.99), fused=True, compiled=self.config.fast)
        schedule = LambdaLR(optimizer, lambda step: lr_factor(step, self.config, self.seconds()))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def psnr(restored: Tensor, clean: Tensor) -> Tensor:
    """Per-image PSNR in dB of (B, 3, H, W) in [0, 1], (B,); at most 100.

    Unlike `cea.metrics.psnr` in single precision: validation stays on the device.
    """
    error = (restored - clean).square().mean(dim=(1, 2, 3)).clamp_min(SMALLEST_MSE)
    return psnr_of(error)
