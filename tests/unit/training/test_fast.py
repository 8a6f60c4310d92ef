"""``train.fast``: blocks as compiled operators. Another way to the same training."""

from __future__ import annotations

from pathlib import Path

import pytest

from cea.config import parse
from cea.errors import ConfigError
from cea.models.checkpoint import load_weights
from cea.models.fused import compiled
from cea.training.config import TrainConfig
from cea.training.fit import FitResult, fingerprint, fit
from tests import toy_training
from tests.toy_training import MODEL, make_job

TRAIN = toy_training.TRAIN.model_copy(update={"max_steps": 50, "val_interval": 50, "warmup_steps": 5})
needs_compiler = pytest.mark.skipif(compiled.LIBRARY is None, reason="the package was installed without a C compiler")


def trained(shards: Path, folder: Path, **changes: object) -> FitResult:
    return fit(make_job(shards, folder), TRAIN.model_copy(update=changes), MODEL, progress=False)


@pytest.fixture(scope="module")
def plain(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return trained(shards, tmp_path_factory.mktemp("plain"))


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_curve(threads: int, plain: FitResult, shards: Path, tmp_path: Path) -> None:
    result = trained(shards, tmp_path, fast=True, threads=threads)
    own, other = (dict(run.history["train/loss"]) for run in (result, plain))
    assert own == pytest.approx(other, rel=1e-4)
    assert own != other
    assert load_weights(result.last)[1]["fused_blocks"] == 3
    assert "fused_blocks" not in load_weights(plain.last)[1]


@needs_compiler
def test_weights_say_what_was_fused_and_not_what_could_have_been(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = trained(shards, tmp_path, fast=True, precision="float64", max_steps=2, val_interval=2)
    assert "fused_blocks" not in load_weights(result.last)[1]
    assert "no compiled operator for blocks" in caplog.text


def test_without_a_compiler_it_trains_as_before(
    plain: FitResult, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiled, "LIBRARY", None)
    result = trained(shards, tmp_path, fast=True)
    assert result.history["train/loss"] == plain.history["train/loss"]
    assert result.weights.read_bytes() == plain.weights.read_bytes()
    assert "no compiled operator" in caplog.text


def test_a_run_goes_on_only_as_it_began(shards: Path, tmp_path: Path) -> None:
    fast = TRAIN.model_copy(update={"fast": True})
    assert fingerprint(make_job(shards, tmp_path), fast, MODEL) != fingerprint(make_job(shards, tmp_path), TRAIN, MODEL)


def test_not_together_with_torch_compile() -> None:
    with pytest.raises(ConfigError, match="fast or compile, not both"):
        parse(TrainConfig, {"fast": True, "compile": True}, "train")
