"""How to train: steps, patches, schedule, averaging, machine."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, Strict, field_validator, model_validator

from cea.config import Config
from cea.data.remote import RemoteConfig

NO_EFFECT = {"workers", "cache_mb", "shards", "remote", "log_interval", "devices"}
"""Fields that do not change the weights, or only their last bits; a run may be resumed with other values of these."""

Growth = Annotated[tuple[float, int], Strict(False)]
"""Share of the steps, and the height and width of patches from there on."""


class TrainConfig(Config):
    """Section ``train`` of params.yaml."""

    seed: int | None = Field(None, ge=0)
    """Of initial weights and patches; null takes the global ``seed``, which also decides the data. Give it to train
    again on the same data."""
    init: str | None = Field(None, min_length=1)
    """A file of weights to start from instead of random ones (fine-tuning); its network must be this one,
    but may lack the heads of ``error_gate`` and ``severity``, which then start afresh."""
    max_steps: int = Field(3000, ge=1, le=10_000_000)
    """Optimiser steps; the schedule is sized to them."""
    end_step: int | None = Field(None, ge=1)
    """End after this step, before the schedule does; null: at its end. What a training has learned by then generalises
    further, sometimes, than what it has when its rate has fallen (docs/weights.md)."""
    max_hours: float | None = Field(None, gt=0, le=10_000)
    """End by this many hours of training (validation and start-up not counted), with the schedule sized to whichever
    of ``max_steps`` and this is reached first; how many steps there were then depends on the machine."""
    val_interval: int = Field(500, ge=1, le=1_000_000)
    """Steps between validations; each is followed by a checkpoint, so a kill costs at most this many steps."""
    batch: int = Field(8, ge=1, le=4096)
    """Patches per step, over all processes; each takes its share."""
    accumulate: int = Field(1, ge=1, le=4096)
    """Parts in which a batch goes through the network, for less memory; divides ``batch``."""
    patch: int = Field(64, ge=8, le=2048)
    """Height and width of a training patch, in pixels."""
    patches: Annotated[tuple[Growth, ...], Strict(False)] | None = Field(
        None, exclude_if=lambda patches: patches is None
    )
    """Patches that grow: (share of ``max_steps``, height and width from there on), the first share 0. Of each size a
    batch holds as many as have the pixels of ``batch`` patches of ``patch``, so that steps cost about the same. null:
    ``patch`` throughout."""
    transpose: bool = False
    """Also swap rows and columns at random, beside the two flips."""
    grey_share: float = Field(0.0, ge=0, le=1)
    """Share of the patches that lose colour, degraded and clean alike: half of them become grey, half paler."""
    tone_share: float = Field(0.0, ge=0, le=1)
    """Share of the patches that lose contrast, degraded and clean alike, if they are nearly clean (within four grey
    levels in the mean): half become darker, half duller. Dark and dull scenes are not degraded ones."""

    optimizer: Literal["muon", "adamw"] = "muon"
    """``muon``: Muon for the matrices that mix channels, AdamW for the rest; ``adamw``: AdamW for all."""
    lr: float = Field(1e-3, gt=0, le=1)
    """Peak learning rate of AdamW."""
    muon_lr: float = Field(2e-3, gt=0, le=1)
    """Peak learning rate of Muon, whose updates are scaled to the size of AdamW's."""
    lr_floor: float = Field(0.01, ge=0, le=1)
    """The cosine ends at this share of ``lr`` and ``muon_lr``."""
    warmup_steps: int = Field(100, ge=0, le=1_000_000)
    """Steps of linear warm-up."""
    weight_decay: float = Field(1e-4, ge=0, le=1)
    """Decoupled from the gradient; matrices and kernels only."""
    clip_norm: float = Field(1.0, gt=0, le=1000)
    """Largest norm of the gradient."""
    ema_decay: float = Field(0.995, ge=0, lt=1)
    """Per step, of the averaged weights that are validated and kept; 0 keeps the raw weights."""
    fft_weight: float = Field(0.05, ge=0, le=100)
    """Weight of the spectral L1 term beside the L1 over pixels."""
    loss_balance: float = Field(0.0, ge=0, le=1)
    """Weigh each patch by its input's error to the power of minus this: 0 counts grey levels, as L1 does, so that heavy
    degradations drown light ones; 1 counts the share of the input's error that is left, whatever its size."""

    error_weight: float = Field(0.01, ge=0, le=100)
    """Weight of the error of the predicted logarithm of the input's local error, where ``model.error_gate`` is on."""

    severity_weight: float = Field(0.02, ge=0, le=100)
    """Weight of the cross-entropy of the predicted local severities, where ``model.severity`` names components."""

    val_crop: int = Field(256, ge=16, le=8192)
    """Validate on the central crop of this height and width, in pixels."""
    val_images: int = Field(8, ge=1, le=100_000)
    """Validation images per recipe, at most."""

    devices: int = Field(1, ge=1, le=1024)
    """Processes that train together on this machine, each on a GPU of its own or on the CPU; where torchrun, Slurm or
    Ray Train has started some, it decides. Results differ in the last bits with it; a run may go on with another."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train; ``auto`` takes the GPU where there is one."""
    precision: Literal["auto", "float32", "bfloat16", "float64"] = "auto"
    """``auto`` computes in bfloat16 on a GPU that has it, in float32 otherwise; ``float64`` is for comparing ways of
    training: rounding then hides nothing."""
    threads: int = Field(1, ge=0, le=1024)
    """CPU threads, each of which takes its share of a batch; 0 lets PyTorch divide every operator instead, over as
    many threads as it likes. Results differ in the last bits with it. (Of a GPU or a compiled step: for all else.)"""
    deterministic: bool = False
    """Take only those algorithms of PyTorch that give the same bits on every run: for a GPU, whose fast ones do not (it
    stops at an operation that has none). On the CPU the weights are the same with it."""
    fast: bool = Field(False, exclude_if=lambda fast: not fast)
    """Compute each block of ``nafnet`` as one operator, forward and backward, where the package was installed with a C
    compiler: on the CPU, in single precision. Results differ in the last bits with it; without one nothing changes."""
    compile: bool = False
    """Compile the training step (torch.compile): minutes at the start, fewer per step; for long runs."""
    workers: int = Field(1, ge=0, le=256)
    """Processes that decode patches; 0 decodes in the training process. Results do not depend on it."""
    cache_mb: int = Field(512, ge=0, le=1_000_000)
    """Decoded tiles kept in memory by each process that decodes, in MB."""
    shards: str | None = Field(None, pattern=r"^(https?|s3)://[^\s?#@/]+(/[^\s?#@]*)?$")
    """Address of a copy of ``data/shards`` to train on, ``https://...`` or ``s3://bucket/...``, without keys in it;
    null: ``data/shards`` itself. Either way the pixels have to be those that ``data/dataset`` lists."""
    remote: RemoteConfig = RemoteConfig()
    """How shards are fetched from there."""
    log_interval: int = Field(25, ge=1, le=100_000)
    """Steps between two points of the training curves."""

    @field_validator("patches")
    @classmethod
    def _growing(cls, patches: tuple[tuple[float, int], ...] | None) -> tuple[tuple[float, int], ...] | None:
        shares, sides = [share for share, _ in patches or ()], [side for _, side in patches or ()]
        if patches is not None and not (
            shares[:1] == [0]
            and shares[-1] < 1
            and all(before < after for before, after in pairwise(shares))
            and all(8 <= side <= 2048 for side in sides)
        ):
            raise ValueError(
                "pairs of a share of the steps and a size, [[0, 64], [0.6, 96]]: shares rising from 0, below 1; "
                "sizes of 8 to 2048 pixels"
            )
        return patches

    @property
    def steps(self) -> int:
        """Optimiser steps that are made, unless ``max_hours`` ends them."""
        return self.max_steps if self.end_step is None else min(self.end_step, self.max_steps)

    @model_validator(mode="after")
    def _by_steps(self) -> TrainConfig:
        if self.patches is not None and self.max_hours is not None:
            raise ValueError(
                "patches without max_hours: their shares are of max_steps, or what a step trains on would depend on "
                "the clock"
            )
        return self

    @model_validator(mode="after")
    def _one_way(self) -> TrainConfig:
        if self.fast and self.compile:
            raise ValueError("fast or compile, not both: torch.compile cannot look into a compiled operator")
        return self

    @model_validator(mode="after")
    def _equal_parts(self) -> TrainConfig:
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate to divide batch = {self.batch}, so that all parts are equal")
        return self
