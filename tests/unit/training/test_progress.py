"""The line that says how far the training is."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tqdm import tqdm
from tqdm._monitor import TMonitor

from cea.training import progress
from cea.training.callbacks import Curves
from cea.training.progress import ProgressLine


def test_a_log_gets_ten_lines_however_slow_the_steps(capsys: pytest.CaptureFixture[str]):
    line = ProgressLine(200, cast("Curves", SimpleNamespace(history={})))
    trainer = cast("Any", SimpleNamespace(global_step=0))
    line.on_train_start(trainer, cast("Any", None))
    assert line._bar is not None
    line._bar.last_print_t -= 3600  # an hour without a line: tqdm's own watchman now wants to see every step
    watchman = TMonitor(tqdm, 0.01)
    time.sleep(0.2)
    watchman.exit()
    for step in range(1, 201):
        trainer.global_step = step
        line.on_train_batch_end(trainer, cast("Any", None), None, None, step)
    line.on_train_end(trainer, cast("Any", None))
    lines = capsys.readouterr().err.splitlines()
    assert 10 <= len(lines) <= 13
    assert lines[-1].startswith("train: 200/200 steps")


def test_the_first_steps_say_how_long_the_others_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    line = ProgressLine(1000, cast("Curves", SimpleNamespace(history={})))
    trainer = cast("Any", SimpleNamespace(global_step=400))  # a run that goes on
    line.on_train_start(trainer, cast("Any", None))
    for step in range(401, 440):
        now[0] += 60 if step < 403 else 0.5  # the first ones are slow
        trainer.global_step = step
        line.on_train_batch_end(trainer, cast("Any", None), None, None, step)
    said = [text for text in capsys.readouterr().err.splitlines() if "about" in text]
    assert said == [
        "train: about 4:54 for the 588 steps that are left (0.50 s a step, over the first 10); validation comes on top"
    ]
