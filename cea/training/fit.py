"""Train a network on shards: one call, resumable, quiet."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from cea.data.dataset import label_digest, pixel_digest
from cea.data.shards import index_parts
from cea.data.summary import LOCAL, Place
from cea.errors import ConfigError, DataError
from cea.io.images import write_bytes
from cea.models.checkpoint import load_weights
from cea.models.config import ModelConfig
from cea.models.network import RestorationNetwork, build
from cea.training.averaging import MovingAverage
from cea.training.callbacks import BestWeights, Curves, History, Report, ResumePoint
from cea.training.config import NO_EFFECT, TrainConfig
from cea.training.data import RestorationData
from cea.training.lock import Destination
from cea.training.module import RestorationModule
from cea.training.processes import EndAtOnce, Processes, joined, of_first
from cea.training.progress import ProgressLine
from cea.training.state import open_state
from cea.training.validation_pictures import Show, ValidationPictures

_NEW_HEADS = ("log_error.", "severity.")

_EXPECTED_WARNINGS = (
    ".*does not have many workers.*",  # train.workers is the user's choice
    ".*GPU available but not used.*",  # so is train.device
    ".*Total length of .* is zero.*",  # resumed after its last step
    ".*`srun` command is available.*",  # one process is a choice, too
    ".*LeafSpec.*is deprecated.*",  # Lightning 2.6 on PyTorch 2.13
)


@dataclass(frozen=True)
class TrainingJob:
    """What to train on and where to write.

    Attributes:
        train, val: shard folders, one per recipe, each named after it.
        output: receives ``best.safetensors`` and ``last.safetensors`` (averaged weights) at the end.
        state: keeps what is needed to resume after a kill, until `cea.training.state.forget` removes it: a result
            that could not be kept then costs no second training. It must not lie in ``output`` where another tool
            empties that before a run.
        seed: of initial weights and patches.
        place: where the tars of the shards are.
    """

    train: tuple[Path, ...]
    val: tuple[Path, ...]
    output: Path
    state: Path
    seed: int = 0
    place: Place = LOCAL


@dataclass(frozen=True)
class FitResult:
    """What came out.

    Attributes:
        weights: the averaged weights with the highest mean gain on the validation images.
        last: the averaged weights at the end.
        steps: of the whole run, those before a resume included.
        best_step, best_gain_psnr: when ``weights`` were taken, and their mean validation gain in dB.
        seconds: spent in training steps, those before a resume included.
        parameters: of the network.
        history: curves by name, as (step, value).
        adapters: by site, ``effective_rank_a``, ``effective_rank_d``, ``rank``, ``varying_share_a`` at the end.
        given_up: ``train/<recipe>`` -> samples of damaged shards that were passed over, where there were some.
    """

    weights: Path
    last: Path
    steps: int
    best_step: int
    best_gain_psnr: float
    seconds: float
    parameters: int
    history: History = field(repr=False)
    adapters: dict[str, dict[str, float]] = field(repr=False)
    given_up: dict[str, int] = field(default_factory=dict)


def fit(
    job: TrainingJob,
    config: TrainConfig,
    model: ModelConfig,
    *,
    report: Report | None = None,
    show: Show | None = None,
    progress: bool = True,
) -> FitResult:
    """Train, or go on where a killed run with the same configuration and data stopped.

    The result does not depend on whether and where the run was killed, nor on the number of workers; on the number of
    processes that train together only in its last bits. A launcher starts these (`cea.training.processes`), each calls
    this function, and the first of them alone writes, reports and shows progress.

    Args:
        job: data, folders, seed.
        config: how to train.
        model: what to train.
        report: called with each point of the curves, e.g. to send it to a tracking server.
        show: called after each validation with a picture of what the network makes of some images.
        progress: show a progress bar on standard error.

    Raises:
        DataError: shards that are missing, damaged or empty; another run wrote to ``job.output`` meanwhile.
        ConfigError: a GPU that is asked for and not there; a component that no training sample has; a loss that is no
            longer finite; a batch that the processes cannot share equally, or processes that nobody has started.
        PeerError: another of the processes ended.
        SystemExit: 143 where SIGTERM ended it; the same call goes on from the last checkpoint.
    """
    processes = Processes.found()
    if processes.size == 1 and config.devices > 1:
        raise ConfigError(
            f"train.devices = {config.devices}: this process is the only one",
            expected="processes that a launcher has started",
            remedy=f"torchrun --nproc-per-node {config.devices} your_script.py, or set train.devices to 1",
        )
    watching = _Watching(report, show, progress) if processes.first else _Watching()
    with joined(processes, gpu=uses_gpu(config)):
        return _fit(job, config, model, processes, watching)


@dataclass(frozen=True)
class _Watching:
    """What is told of a training while it goes on."""

    report: Report | None = None
    show: Show | None = None
    progress: bool = False


def _fit(
    job: TrainingJob, config: TrainConfig, model: ModelConfig, processes: Processes, watching: _Watching
) -> FitResult:
    destination = Destination.of(job.output)
    mark = fingerprint(job, config, model)
    checkpoint = of_first(lambda: open_state(job.state, mark), processes)
    curves = Curves(config.log_interval, watching.report, processes)
    parent = init_sha256(config)
    best = BestWeights(curves, {"parent_sha256": parent} if parent else {}, processes)
    with _quiet(), _threads(config.threads), _algorithms(config.deterministic):
        data = RestorationData(job.train, job.val, config, job.seed, model.severity, processes, job.place)
        recipes = tuple(folder.name for folder in job.val)
        network = initial(model, config, job.seed)
        if config.precision == "float64":
            network = network.double()  # before the average copies it
        module = RestorationModule(network, config, recipes, lambda: curves.seconds)
        fused = 0 if uses_gpu(config) or _precision(config) != "32-true" else module.fused
        if config.fast and not fused:
            logging.warning("train.fast: no compiled operator for blocks of this network, device and precision")
        best.metadata |= {"fused_blocks": fused} if fused else {}
        shown = [ValidationPictures(watching.show)] if watching.show else []
        others = _others(job, config, curves, processes, watching.progress)
        trainer = _trainer(job, config, [curves, best, *shown, *others], processes)
        with suppress(SIGTERMException):  # an exit with the status 0
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    if trainer.received_sigterm:
        raise SystemExit(128 + signal.SIGTERM)  # not a result; the same command goes on from the last checkpoint
    if processes.first:
        destination.check()
        _write(job, best)
    return _result(job, trainer, module, curves, best, data.pairs.given_up())


def initial(model: ModelConfig, config: TrainConfig, seed: int) -> RestorationNetwork:
    """The network to start from: random weights, or those of ``config.init``.

    Raises:
        DataError: a file of weights that is missing, or of another network than ``model``.
    """
    network = build(model, seed)
    if config.init is not None:
        parent, _ = load_weights(Path(config.init), trust_code=True)
        try:
            network.load_state_dict(_without_new_heads(network) | parent.state_dict())
        except RuntimeError as error:
            raise DataError(
                f"train.init = {config.init!r}: the weights of another network ({str(error).splitlines()[-1].strip()})",
                expected="weights of the network that section model describes",
                remedy="set section model as it was when they were trained, or start from random weights",
            ) from None
    return network


def _without_new_heads(network: RestorationNetwork) -> dict[str, Tensor]:
    """What a parent may lack: its heads for the input's error and severities start afresh."""
    return {name: value for name, value in network.state_dict().items() if name.startswith(_NEW_HEADS)}


def init_sha256(config: TrainConfig) -> str | None:
    """Digest of the file that ``config.init`` names; None without one.

    Raises:
        DataError: it cannot be read.
    """
    if config.init is None:
        return None
    try:
        return hashlib.sha256(Path(config.init).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(
            f"train.init = {config.init!r}: {error.strerror}",
            expected="a .safetensors file",
            remedy="correct the path, which is relative to the project",
        ) from None


def fingerprint(job: TrainingJob, config: TrainConfig, model: ModelConfig) -> str:
    """A digest of all that decides the weights: configuration, seed, the shards' pixels, PyTorch's version."""
    labels = {"labels": [label_digest(folder, job.place) for folder in job.train]} if model.severity else {}
    unused = set() if model.severity else {"severity_weight"}
    facts = {
        **labels,
        "train": config.model_dump(exclude=NO_EFFECT | unused),
        "model": model.model_dump(),
        "init": init_sha256(config),
        "seed": job.seed,
        "data": [
            [pixel_digest(index_parts(folder, job.place)) for folder in folders] for folders in (job.train, job.val)
        ],
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=list).encode()).hexdigest()


def _others(
    job: TrainingJob, config: TrainConfig, curves: Curves, processes: Processes, progress: bool
) -> list[Callback]:
    callbacks: list[Callback] = [MovingAverage(config.ema_decay), ResumePoint(job.state, processes)]
    if processes.size > 1:
        callbacks.append(EndAtOnce())
    return [*callbacks, ProgressLine(config.steps, curves)] if progress else callbacks


def _trainer(job: TrainingJob, config: TrainConfig, callbacks: list[Callback], processes: Processes) -> Trainer:
    return Trainer(
        accelerator="gpu" if uses_gpu(config) else "cpu",
        devices=processes.here,
        num_nodes=processes.machines,
        use_distributed_sampler=False,  # ours knows its share
        precision=_precision(config),
        strategy="ddp" if processes.size > 1 else "auto",
        plugins=[processes],  # of one process, too: else Lightning looks for a launcher of its own, and may refuse it
        max_steps=config.steps,
        max_epochs=-1,
        accumulate_grad_batches=config.accumulate,
        reload_dataloaders_every_n_epochs=1,  # one "epoch" is one stretch between validations
        num_sanity_val_steps=0,
        callbacks=callbacks,
        default_root_dir=job.state,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _precision(config: TrainConfig) -> Literal["32-true", "64-true", "bf16-mixed"]:
    if config.precision == "float64":
        return "64-true"
    half = config.precision == "auto" and uses_gpu(config) and torch.cuda.is_bf16_supported()
    return "bf16-mixed" if half or config.precision == "bfloat16" else "32-true"


def uses_gpu(config: TrainConfig) -> bool:
    """Whether this machine trains on a GPU; ConfigError where one is asked for and not there."""
    present = torch.cuda.is_available()
    if config.device == "gpu" and not present:
        raise ConfigError(
            "train.device = 'gpu': PyTorch sees none", expected="a GPU", remedy="set train.device to auto or cpu"
        )
    return present and config.device != "cpu"


def _write(job: TrainingJob, best: BestWeights) -> None:
    """Weights to the output folder. The state stays until whoever called has kept the rest of the result."""
    for name, data in best.files.items():
        write_bytes(job.output / name, data)


def _result(
    job: TrainingJob,
    trainer: Trainer,
    module: RestorationModule,
    curves: Curves,
    best: BestWeights,
    given_up: dict[str, int],
) -> FitResult:
    return FitResult(
        weights=job.output / "best.safetensors",
        last=job.output / "last.safetensors",
        steps=trainer.global_step,
        best_step=best.step,
        best_gain_psnr=best.gain,
        seconds=curves.seconds,
        parameters=sum(parameter.numel() for parameter in module.network.parameters()),
        history=curves.history,
        adapters=best.adapters,
        given_up=given_up,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """No tips, no hardware table, and no warnings about choices that are made here on purpose."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1 if count else before)  # more of them share the batch
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _algorithms(deterministic: bool) -> Iterator[None]:
    """Only deterministic ones, where wanted; cuBLAS reads its variable when it starts."""
    before = torch.are_deterministic_algorithms_enabled()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
