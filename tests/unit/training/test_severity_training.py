"""Training with labels of severity: learned, masked where unknown, resumable, and nothing else touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cea.data.labels import UNKNOWN
from cea.errors import ConfigError
from cea.losses import severity_loss
from cea.models.checkpoint import load_weights
from cea.models.network import build
from cea.training.data import RestorationData
from cea.training.fit import TrainingJob, fingerprint, fit, initial
from cea.training.module import RestorationModule
from tests import toy_training
from tests.toy_shards import fully, toy_pair, write_toy_shards
from tests.toy_training import MODEL, make_job

LEARNED = MODEL.model_copy(update={"severity": ("bright", "absent")})
TRAIN = toy_training.TRAIN.model_copy(
    update={"max_steps": 12, "val_interval": 6, "log_interval": 3, "threads": 2, "transpose": True}
)


def bright(clean: np.ndarray, _degraded: np.ndarray) -> np.ndarray:
    """Full severity where the picture is bright: something that can be learned in a few steps."""
    return np.where(clean.mean(axis=2) > 128, 255, 0).astype(np.uint8)[None]


def fully_and_bright(clean: np.ndarray, degraded: np.ndarray) -> np.ndarray:
    return np.concatenate([fully(clean, degraded), bright(clean, degraded)])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for split, seed in (("train", 0), ("val", 1)):
        write_toy_shards(folder / split / "a", samples=3, size=32, seed=seed, components=("bright",), bands=bright)
        both = {
            "components": ("absent", "bright"),
            "bands": lambda *pair: np.concatenate([fully(*pair), bright(*pair)]),
        }
        write_toy_shards(folder / split / "b", samples=3, size=32, seed=seed, **both)
        write_toy_shards(folder / split / "real", samples=3, size=32, seed=seed, bands=lambda *_: None)
    return folder


@pytest.mark.slow
def test_it_learns_where(shards: Path, tmp_path: Path) -> None:
    """From the pictures alone, on images it has not seen."""
    update = {"max_steps": 300, "val_interval": 300, "severity_weight": 1.0, "ema_decay": 0.9, "lr": 2e-3}
    config = TRAIN.model_copy(update=update)
    result = fit(make_job(shards, tmp_path), config, LEARNED, progress=False)
    network, _ = load_weights(result.last)
    assert network.config.severity == ("bright", "absent")
    told, true = [], []
    for number in range(3):
        clean, degraded = toy_pair("a", number, 32, seed=1)
        logits = network.judged(torch.from_numpy(degraded).permute(2, 0, 1)[None] / 255).severity_logits
        told.append(logits[0, 0].sigmoid().detach().numpy().ravel())
        true.append(bright(clean, degraded)[0].reshape(16, 2, 16, 2).mean(axis=(1, 3)).ravel() / 255)
    assert np.corrcoef(np.concatenate(told), np.concatenate(true))[0, 1] > 0.6


def test_weight_zero_trains_the_network_that_there_was(shards: Path, tmp_path: Path) -> None:
    """Bit for bit: labels change neither the patches nor their order."""
    plain = fit(make_job(shards, tmp_path / "plain"), TRAIN, MODEL, progress=False)
    idle = TRAIN.model_copy(update={"severity_weight": 0.0})
    headed = fit(make_job(shards, tmp_path / "headed"), idle, LEARNED, progress=False)
    before, after = load_file(plain.last), load_file(headed.last)
    assert after.keys() - before.keys() == {"severity.weight", "severity.bias"}
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_an_interrupted_training_goes_on_to_the_same_weights(shards: Path, tmp_path: Path) -> None:
    whole = fit(make_job(shards, tmp_path / "whole"), TRAIN, LEARNED, progress=False)
    job = make_job(shards, tmp_path / "cut")

    def stop(step: int, values: object) -> None:
        if step == 9:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(job, TRAIN, LEARNED, report=stop, progress=False)
    assert list(job.state.glob("resume-*.ckpt"))
    seen: list[int] = []
    result = fit(job, TRAIN, LEARNED, report=lambda step, _: seen.append(step), progress=False)
    assert min(seen) > 6
    one, other = load_file(whole.last), load_file(result.last)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_a_run_resumes_by_knows_labels_only_where_they_are_learned(shards: Path, tmp_path: Path) -> None:
    heavier = TRAIN.model_copy(update={"severity_weight": 0.5})
    job = make_job(shards, tmp_path)
    assert fingerprint(job, TRAIN, MODEL) == fingerprint(job, heavier, MODEL)
    assert fingerprint(job, TRAIN, LEARNED) != fingerprint(job, heavier, LEARNED)
    other = write_toy_shards(  # the same pixels under other labels
        tmp_path / "other" / "a", samples=3, size=32, components=("bright",), bands=lambda c, d: 255 - bright(c, d)
    )
    moved = TrainingJob((other, *job.train[1:]), job.val, job.output, job.state, job.seed)
    assert fingerprint(moved, TRAIN, LEARNED) != fingerprint(job, TRAIN, LEARNED)


def test_a_head_starts_afresh_on_weights_without_one(shards: Path, tmp_path: Path) -> None:
    parent = fit(make_job(shards, tmp_path), TRAIN.model_copy(update={"max_steps": 2}), MODEL, progress=False)
    start = initial(LEARNED, TRAIN.model_copy(update={"init": str(parent.last)}), seed=5).state_dict()
    assert all(torch.equal(start[name], value) for name, value in load_file(parent.last).items())
    assert not start["severity.weight"].any()


def test_a_component_that_no_shard_has_is_one_line(shards: Path, tmp_path: Path) -> None:
    job = make_job(shards, tmp_path)
    with pytest.raises(ConfigError, match="component 'fog'; expected among absent, bright, real") as error:
        RestorationData(job.train, job.val, TRAIN, 0, ("bright", "fog"))
    assert "\n" not in str(error.value)


def test_labels_become_cells_as_the_network_pads() -> None:
    """Means over cells of the stem; a cell of which half is unknown takes the mean of what is known."""
    module = RestorationModule(build(LEARNED), TRAIN)
    labels = torch.zeros(1, 2, 5, 6)
    labels[0, 0, 4, 5] = 255  # the corner, which padding to 8 x 8 repeats
    labels[0, 1, 0, :2] = UNKNOWN
    labels[0, 1, 1, :2] = 102
    recorded, known = module._cells(labels.short())
    assert recorded.shape == known.shape == (1, 2, 4, 4)
    assert recorded[0, 0, 2:].tolist() == [[0, 0, 0.5, 1], [0, 0, 0.5, 1]]
    assert recorded[0, 1, 0, 0].item() == pytest.approx(0.4)
    assert known[0, 1].flatten().tolist() == [0.5, *[1] * 15]


def test_the_loss_is_least_at_the_mean_of_what_looks_alike() -> None:
    recorded = torch.zeros(1, 1, 2, 5)
    recorded[0, 0, 0, :3] = 1.0
    logit = torch.zeros((), requires_grad=True)
    losses = {
        share: severity_loss(torch.full((1, 1, 2, 5), share).logit(), recorded, torch.ones(1, 1, 2, 5)).item()
        for share in (0.1, 0.2, 0.3, 0.4, 0.5)
    }
    assert min(losses, key=losses.__getitem__) == 0.3
    severity_loss(logit.expand(1, 1, 2, 5), recorded, torch.zeros(1, 1, 2, 5)).backward()
    assert logit.grad.item() == 0  # nothing is known
    half = torch.ones(1, 1, 2, 5)
    half[..., 1, :] = 0
    assert severity_loss(torch.zeros(1, 1, 2, 5), recorded, half).item() == pytest.approx(np.log(2) / 2)
