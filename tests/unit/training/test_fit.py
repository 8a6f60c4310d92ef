"""Training end to end on toy shards: resume after a kill, averaged weights, quiet output."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cea.data.loaders import PatchDataset, ShardPairs
from cea.data.remote import RemoteConfig, open_remote
from cea.data.shards import read_index
from cea.errors import ConfigError, DataError
from cea.inference import restore
from cea.models.checkpoint import load_weights
from cea.models.network import build
from cea.training.callbacks import TIMINGS
from cea.training.fit import FitResult, fingerprint, fit, init_sha256, initial
from cea.training.results import speed
from cea.training.state import forget
from cea.training.validation_pictures import SIDE
from tests import toy_training
from tests.faulty_server import serving, truncated
from tests.toy_shards import write_toy_shards
from tests.toy_training import MODEL, make_job

TRAIN = toy_training.TRAIN.model_copy(
    update={"max_steps": 25, "val_interval": 10, "batch": 3, "muon_lr": 5e-3, "log_interval": 5, "threads": 2}
)


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
    assert set(undisturbed.adapters) == {"encoder_0", "middle"}
    _, metadata = load_weights(undisturbed.weights)
    assert metadata == {"step": undisturbed.best_step, "val_gain_psnr": undisturbed.best_gain_psnr}


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
    assert {name: curve for name, curve in result.history.items() if name not in TIMINGS} == {
        name: curve for name, curve in undisturbed.history.items() if name not in TIMINGS
    }


def test_a_training_that_is_told_to_end_says_so_and_can_go_on(
    shards: Path, undisturbed: FitResult, tmp_path: Path
) -> None:
    """SIGTERM: with status 0, DVC would take what is there for a result."""

    def end(step: int, values: object) -> None:
        if step == 15:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        fit(make_job(shards, tmp_path), TRAIN, MODEL, report=end, progress=False)
    assert ended.value.code == 128 + signal.SIGTERM
    assert not (tmp_path / "out/best.safetensors").exists()
    result = fit(make_job(shards, tmp_path), TRAIN, MODEL, progress=False)
    assert same_weights(result.weights, undisturbed.weights)


def test_threads_change_the_last_bits_only(shards: Path, undisturbed: FitResult, tmp_path: Path) -> None:
    result = fit(make_job(shards, tmp_path), TRAIN.model_copy(update={"threads": 1}), MODEL, progress=False)
    for name in ("train/loss", "train/grad_norm"):
        whole, shared = ([value for _, value in curves[name]] for curves in (result.history, undisturbed.history))
        assert whole == pytest.approx(shared, rel=1e-2)
    assert result.best_gain_psnr == pytest.approx(undisturbed.best_gain_psnr, abs=0.01)


def test_deterministic_algorithms_give_the_same_weights_on_the_cpu(
    shards: Path, undisturbed: FitResult, tmp_path: Path
) -> None:
    """And are switched off again. Whether a GPU repeats itself with them was not tried: there was none."""
    seen = []
    config = TRAIN.model_copy(update={"deterministic": True})
    result = fit(
        make_job(shards, tmp_path),
        config,
        MODEL,
        report=lambda step, values: seen.append(torch.are_deterministic_algorithms_enabled()),
        progress=False,
    )
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()
    assert same_weights(result.weights, undisturbed.weights)


@pytest.mark.slow
def test_workers_do_not_change_the_result(shards: Path, undisturbed: FitResult, tmp_path: Path) -> None:
    config = TRAIN.model_copy(update={"workers": 2, "cache_mb": 0})
    result = fit(make_job(shards, tmp_path), config, MODEL, progress=False)
    assert same_weights(result.last, undisturbed.last)


@pytest.mark.parametrize("workers", [0, 1])
def test_shards_from_afar_give_the_same_weights(
    workers: int, shards: Path, undisturbed: FitResult, tmp_path: Path
) -> None:
    """And a run that began on local shards goes on with those from afar, and the other way round."""
    with serving(shards) as server:
        config = RemoteConfig(cache=str(tmp_path / "cache"))
        place = open_remote(server.address, config, {"train": ["dark", "dim"], "val": ["dark", "dim"]})
        here = make_job(shards, tmp_path)
        far = dataclasses.replace(make_job(place.root, tmp_path), place=place)
        changed = TRAIN.model_copy(update={"workers": workers, "shards": server.address, "remote": config})
        assert fingerprint(far, changed, MODEL) == fingerprint(here, TRAIN, MODEL)
        labelled = MODEL.model_copy(update={"severity": ("dark",)})
        assert fingerprint(far, changed, labelled) == fingerprint(here, TRAIN, labelled)
        result = fit(far, changed, MODEL, progress=False)
    assert same_weights(result.weights, undisturbed.weights)
    assert same_weights(result.last, undisturbed.last)
    assert result.given_up == {}


def test_a_shard_that_was_passed_over_is_told_with_the_result(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    write_toy_shards(tmp_path / "more/dim", samples=4, size=32, per_tar=2)
    shutil.rmtree(tmp_path / "shards/train/dim")
    shutil.move(tmp_path / "more/dim", tmp_path / "shards/train/dim")
    with serving(tmp_path / "shards") as server:
        config = RemoteConfig(cache=str(tmp_path / "cache"), retries=0, damaged="skip")
        place = open_remote(server.address, config, {"train": ["dark", "dim"], "val": ["dark", "dim"]})
        server.fail("train/dim/000001.tar", truncated)
        job = dataclasses.replace(make_job(place.root, tmp_path), place=place)
        few = TRAIN.model_copy(update={"max_steps": 5, "workers": 1, "remote": config})
        result = fit(job, few, MODEL, progress=False)
        assert result.given_up == speed(result)["samples_given_up"] == {"train/dim": 2}
        server.fail("val/dim/000000.tar", truncated)
        shutil.rmtree(tmp_path / "cache")
        place = open_remote(server.address, config, {"train": ["dark", "dim"], "val": ["dark", "dim"]})
        forget(job.state)
        with pytest.raises(DataError, match=r"val/dim/000000\.tar"):
            fit(job, few, MODEL, progress=False)


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_pixels_are_one_clear_error_from_any_process(workers: int, shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    for folder in (tmp_path / "shards/train").iterdir():
        row = read_index(folder).row(1, named=True)
        with (folder / row["tar"]).open("r+b") as file:
            file.seek(row["degraded_offset"] + row["degraded_size"] // 2)
            file.write(b"damaged")
    config = TRAIN.model_copy(update={"workers": workers})
    with pytest.raises(DataError, match=r"000000\.tar: the degraded of sample '.*' is damaged"):
        fit(make_job(tmp_path / "shards", tmp_path), config, MODEL, progress=False)


def test_parts_of_a_batch_give_the_same_training(shards: Path, undisturbed: FitResult, tmp_path: Path) -> None:
    config = TRAIN.model_copy(update={"accumulate": 3})
    result = fit(make_job(shards, tmp_path), config, MODEL, progress=False)
    assert result.steps == undisturbed.steps
    for name in set(undisturbed.history) - TIMINGS:
        steps, values = zip(*undisturbed.history[name], strict=True)
        other_steps, other_values = zip(*result.history[name], strict=True)
        assert other_steps == steps
        assert other_values == pytest.approx(values, rel=0.02, abs=1e-3), name


def test_waiting_for_data_is_a_share_of_the_time(undisturbed: FitResult) -> None:
    shares = [share for _, share in undisturbed.history["train/wait_share"]]
    assert len(shares) == len(undisturbed.history["train/steps_per_s"])
    assert all(0 < share < 1 for share in shares)


def test_a_slow_reader_is_seen(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = PatchDataset.__getitem__
    monkeypatch.setattr(PatchDataset, "__getitem__", lambda self, order: (time.sleep(0.2), cut(self, order))[1])
    config = TRAIN.model_copy(update={"max_steps": 3})
    result = fit(make_job(shards, tmp_path), config, MODEL, progress=False)
    assert result.history["train/wait_share"][-1][1] > 0.5


def test_fingerprint_follows_what_decides_the_weights(shards: Path, tmp_path: Path) -> None:
    job = make_job(shards, tmp_path)
    mark = fingerprint(job, TRAIN, MODEL)
    others = [
        fingerprint(dataclasses.replace(job, seed=4), TRAIN, MODEL),
        fingerprint(dataclasses.replace(job, train=job.train[:1]), TRAIN, MODEL),
        fingerprint(job, TRAIN.model_copy(update={"lr": 2e-3}), MODEL),
        fingerprint(job, TRAIN, MODEL.model_copy(update={"rank": 5})),
    ]
    assert len({mark, *others}) == 5
    assert fingerprint(dataclasses.replace(job, output=tmp_path / "elsewhere"), TRAIN, MODEL) == mark
    for changes in ({"workers": 3}, {"cache_mb": 1}, {"log_interval": 7}):
        assert fingerprint(job, TRAIN.model_copy(update=changes), MODEL) == mark


def test_state_of_another_run_is_not_resumed(shards: Path, undisturbed: FitResult, tmp_path: Path) -> None:
    job = make_job(shards, tmp_path)

    def stop(step: int, values: object) -> None:
        if step == 15:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fit(job, TRAIN.model_copy(update={"lr": 2e-3}), MODEL, report=stop, progress=False)
    assert len(list(job.state.glob("resume-*.ckpt"))) == 1
    assert same_weights(fit(job, TRAIN, MODEL, progress=False).last, undisturbed.last)


def test_results_of_another_run_are_not_written_over(shards: Path, undisturbed: FitResult, tmp_path: Path) -> None:
    """As where DVC, whose trainer outlived it, has put another run's weights in place; then the run goes on."""
    job = make_job(shards, tmp_path)

    def put(step: int, _: object) -> None:
        job.output.mkdir(exist_ok=True)
        (job.output / "best.safetensors").write_bytes(b"another run's")

    with pytest.raises(DataError, match="results of another run were put there"):
        fit(job, TRAIN, MODEL, report=put, progress=False)
    assert [path.name for path in job.output.iterdir()] == ["best.safetensors"]
    assert (job.output / "best.safetensors").read_bytes() == b"another run's"
    steps: list[int] = []
    again = fit(job, TRAIN, MODEL, report=lambda step, _: steps.append(step), progress=False)
    assert same_weights(again.last, undisturbed.last)
    assert same_weights(again.weights, undisturbed.weights)
    assert not steps, "it was at its end already"


def flip(path: Path) -> None:
    """One bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    damaged: int, shards: Path, undisturbed: FitResult, tmp_path: Path
) -> None:
    """One flipped bit each in the last one or in both; the weights come out the same."""
    job = make_job(shards, tmp_path)
    fit(job, TRAIN, MODEL, progress=False)
    kept = sorted(job.state.glob("resume-*.ckpt"))
    assert [path.name[:15] for path in kept] == ["resume-00000020", "resume-00000025"]
    for path in kept[-damaged:]:
        flip(path)
    seen: list[int] = []
    result = fit(job, TRAIN, MODEL, report=lambda step, _: seen.append(step), progress=False)
    assert min(seen) == {1: 25, 2: 5}[damaged]
    assert same_weights(result.last, undisturbed.last)
    assert same_weights(result.weights, undisturbed.weights)


def test_a_finished_training_is_handed_over_again_without_a_step(
    shards: Path, undisturbed: FitResult, tmp_path: Path
) -> None:
    """Where the result could not be kept: no room, a store that fails. Also for a run that its hours ended."""
    for name, config in (("steps", TRAIN), ("hours", TRAIN.model_copy(update={"max_hours": 1e-9}))):
        job = make_job(shards, tmp_path / name)
        first = fit(job, config, MODEL, progress=False)
        weights = [path.read_bytes() for path in (first.weights, first.last)]
        for path in (first.weights, first.last):
            path.unlink()
        seen: list[int] = []
        again = fit(job, config, MODEL, report=lambda step, _: seen.append(step), progress=False)  # noqa: B023
        assert seen == []
        assert [path.read_bytes() for path in (again.weights, again.last)] == weights
        assert (again.steps, again.best_step, again.history) == (first.steps, first.best_step, first.history)
        forget(job.state)
        assert not list(job.state.parent.glob("*state*"))


def test_an_early_end_is_that_step_of_the_whole_schedule(shards: Path, undisturbed: FitResult, tmp_path: Path) -> None:
    result = fit(make_job(shards, tmp_path), TRAIN.model_copy(update={"end_step": 20}), MODEL, progress=False)
    assert result.steps == 20
    for name in ("train/loss", "val/gain_psnr"):
        made = [point for point in undisturbed.history[name] if point[0] <= 20]
        assert made
        assert result.history[name] == made
    assert not same_weights(result.last, undisturbed.last)


def test_what_is_no_checkpoint_is_not_gone_on_from(shards: Path, undisturbed: FitResult, tmp_path: Path) -> None:
    job = make_job(shards, tmp_path)
    job.state.mkdir()
    (job.state / "fingerprint").write_text(fingerprint(job, TRAIN, MODEL))
    (job.state / f"resume-00000020-{'0' * 32}.ckpt").write_bytes(b"half a checkpoint")
    (job.state / "resume.ckpt").write_bytes(b"of an older version")
    assert same_weights(fit(job, TRAIN, MODEL, progress=False).last, undisturbed.last)


@pytest.mark.slow
def test_averaged_weights_are_validated_and_kept(shards: Path, tmp_path: Path) -> None:
    """With a decay of (almost) 1 the average stays where it started, so validation sees the untrained network."""
    config = TRAIN.model_copy(update={"ema_decay": 0.9999999, "max_steps": 10})
    result = fit(make_job(shards, tmp_path), config, MODEL, progress=False)
    assert result.history["train/loss"][-1][1] < result.history["train/loss"][0][1]
    raw = fit(make_job(shards, tmp_path / "raw"), config.model_copy(update={"ema_decay": 0.0}), MODEL, progress=False)
    gains = [abs(dict(run.history["val/gain_psnr"])[10]) for run in (result, raw)]
    assert gains[0] < 0.2 * gains[1]  # what ten steps change is not seen
    network, start = load_weights(result.weights)[0].requires_grad_(False), build(MODEL, seed=3).requires_grad_(False)
    first_step = max(float((a - b).abs().max()) for a, b in zip(network.parameters(), start.parameters(), strict=True))
    assert first_step < 2e-3  # the average starts at the weights after the first step, and the warm-up makes that small


@pytest.mark.slow
def test_averaging_is_exponential(shards: Path, tmp_path: Path) -> None:
    """Without averaging the raw weights are kept; with it, something else."""
    raw = fit(make_job(shards, tmp_path / "raw"), TRAIN.model_copy(update={"ema_decay": 0.0}), MODEL, progress=False)
    averaged = fit(
        make_job(shards, tmp_path / "ema"), TRAIN.model_copy(update={"ema_decay": 0.9}), MODEL, progress=False
    )
    assert not same_weights(raw.last, averaged.last)
    assert raw.history["train/loss"] == averaged.history["train/loss"]  # averaging does not touch the training


def test_what_is_shown_of_a_training_changes_no_weight(
    shards: Path, undisturbed: FitResult, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Progress, pictures and reports are in no listing of code, see CHANGES_NO_RESULT."""
    pictures: dict[int, object] = {}
    points: list[int] = []
    job = make_job(shards, tmp_path)
    result = fit(job, TRAIN, MODEL, report=lambda step, _: points.append(step), show=pictures.__setitem__)
    assert pictures
    assert points
    assert "train: " in capfd.readouterr().err
    assert same_weights(result.weights, undisturbed.weights)
    assert same_weights(result.last, undisturbed.last)


def test_quiet(shards: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fit(make_job(shards, tmp_path), TRAIN.model_copy(update={"max_steps": 10}), MODEL)
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert all(line.startswith("train: ") for line in lines), err
    assert lines[-1].startswith("train: 10/10 steps")
    assert "val" in lines[-1]
    assert len(lines) <= 12


def test_divergence_is_one_clear_error(shards: Path, tmp_path: Path) -> None:
    config = TRAIN.model_copy(
        update={"lr": 1.0, "muon_lr": 1.0, "clip_norm": 1000.0, "max_steps": 200, "val_interval": 200}
    )
    broken = MODEL.model_copy(update={"residual_scale": 100.0})
    with pytest.raises(ConfigError, match=r"train\.lr = 1: the loss is"):
        fit(make_job(shards, tmp_path), config, broken, progress=False)


def test_missing_shards(shards: Path, tmp_path: Path) -> None:
    job = dataclasses.replace(make_job(shards, tmp_path), train=(tmp_path / "nowhere",))
    with pytest.raises(DataError, match=r"index\.parquet: no such file"):
        fit(job, TRAIN, MODEL, progress=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.device = 'gpu'"):
        fit(make_job(shards, tmp_path), TRAIN.model_copy(update={"device": "gpu"}), MODEL, progress=False)


def test_bfloat16_trains(shards: Path, undisturbed: FitResult, tmp_path: Path) -> None:
    config = TRAIN.model_copy(update={"precision": "bfloat16"})
    result = fit(make_job(shards, tmp_path), config, MODEL, progress=False)
    assert result.history["train/loss"][-1][1] == pytest.approx(undisturbed.history["train/loss"][-1][1], rel=0.05)


def test_a_limit_in_hours_ends_the_run_whole(shards: Path, tmp_path: Path) -> None:
    """It stops at the next point of the curves, validates and hands over."""
    short = TRAIN.model_copy(update={"max_hours": 1e-9})
    result = fit(make_job(shards, tmp_path), short, MODEL, progress=False)
    assert result.steps == TRAIN.log_interval
    assert result.best_step == result.steps
    assert load_weights(result.last)[1]["step"] == result.steps


def test_fine_tuning_starts_from_its_parent(undisturbed: FitResult, shards: Path, tmp_path: Path) -> None:
    """Also with a head for the input's error, which the parent lacks; the new weights name their parent."""
    gated = MODEL.model_copy(update={"error_gate": True})
    tuned = TRAIN.model_copy(update={"init": str(undisturbed.last), "max_steps": 2})
    start, parent = initial(gated, tuned, seed=0), load_file(undisturbed.last)
    for name, value in start.state_dict().items():
        assert name.startswith("log_error.") or torch.equal(value, parent[name])
    result = fit(make_job(shards, tmp_path), tuned, gated, progress=False)
    assert load_weights(result.last)[1]["parent_sha256"] == hashlib.sha256(undisturbed.last.read_bytes()).hexdigest()


def test_a_parent_of_another_shape_is_refused(undisturbed: FitResult) -> None:
    tuned = TRAIN.model_copy(update={"init": str(undisturbed.last)})
    with pytest.raises(DataError, match="the weights of another network"):
        initial(MODEL.model_copy(update={"width": 12}), tuned, seed=0)


def test_a_missing_parent_is_refused() -> None:
    with pytest.raises(DataError, match="No such file"):
        init_sha256(TRAIN.model_copy(update={"init": "nowhere.safetensors"}))


def test_half_precision_on_several_threads(undisturbed: FitResult, shards: Path, tmp_path: Path) -> None:
    """Each thread computes in bfloat16, too: other bits, nearly the same curve."""
    half = TRAIN.model_copy(update={"precision": "bfloat16"})
    result = fit(make_job(shards, tmp_path), half, MODEL, progress=False)
    losses, full = (dict(run.history["train/loss"]) for run in (result, undisturbed))
    assert losses != full
    assert losses[TRAIN.max_steps] == pytest.approx(full[TRAIN.max_steps], rel=0.1)


def test_a_picture_after_each_validation(shards: Path, tmp_path: Path) -> None:
    """A row per recipe: input, restored, clean; the last shows the averaged weights that are handed over."""
    seen: dict[int, np.ndarray] = {}
    short = TRAIN.model_copy(update={"max_steps": 20})
    result = fit(make_job(shards, tmp_path), short, MODEL, show=seen.__setitem__, progress=False)
    assert list(seen) == [10, 20]
    assert seen[20].shape == (2 * SIDE, 3 * SIDE, 3)
    model, _ = load_weights(result.last)
    pairs = ShardPairs(make_job(shards, tmp_path).val)
    for row in range(2):
        clean, degraded = pairs.pair(row, 0)
        tiles = [seen[20][row * SIDE :, column * SIDE :][:32, :32] for column in range(3)]
        assert np.array_equal(tiles[0], degraded)
        assert np.array_equal(tiles[2], clean)
        assert np.abs(tiles[1] - restore(model, degraded) * 255).max() <= 1
