"""How far the training is: an estimate from its first steps, then one line."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm

from cea.progress import clock
from cea.training.callbacks import Curves

CHANGES_NO_RESULT = True

TIMED = (2, 12)
"""Steps after which the clock starts and stops for the one estimate of the whole training."""

_LOG_FORMAT = "{desc}: {n_fmt}/{total_fmt} steps, {elapsed} so far, {remaining} to go, {rate_fmt}{postfix}"


class _Lines:
    """Makes each state of a bar a line of its own in ``stream`` (a log file cannot go back to a line's start)."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        state = text.strip()
        if state:
            self.stream.write(state + "\n")

    def flush(self) -> None:
        self.stream.flush()


class ProgressLine(Callback):
    """A progress bar over all steps: one line in a terminal, ten lines in a log file.

    Args:
        steps: of the whole run.
        curves: where loss and validation gain are read.
    """

    def __init__(self, steps: int, curves: Curves) -> None:
        self.steps = steps
        self.curves = curves
        self._bar: tqdm[Any] | None = None
        self._first, self._clock = 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar where the run starts or goes on."""
        in_terminal = sys.stderr.isatty()
        self._first = trainer.global_step
        self._bar = tqdm(
            total=self.steps,
            initial=trainer.global_step,
            desc="train",
            unit="step",
            file=sys.stderr if in_terminal else _Lines(sys.stderr),
            dynamic_ncols=in_terminal,
            bar_format=None if in_terminal else _LOG_FORMAT,
            mininterval=0.5 if in_terminal else 0,
            miniters=None if in_terminal else max(1, self.steps // 10),
            maxinterval=10 if in_terminal else float("inf"),  # after so many seconds tqdm would show every step
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on by one step."""
        assert self._bar is not None
        self._bar.set_postfix_str(self._state(), refresh=False)
        moved = trainer.global_step - self._bar.n
        self._bar.update(moved)  # not for each part of a batch
        if moved:
            self._estimate(trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar, leaving its last state."""
        if self._bar is not None:
            self._bar.set_postfix_str(self._state(), refresh=False)
            self._bar.close()
            self._bar = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that an error message starts on a line of its own."""
        self.on_train_end(trainer, pl_module)

    def _estimate(self, step: int) -> None:
        """Say once, from the first steps, how long the others take."""
        assert self._bar is not None
        began, enough = TIMED
        if step - self._first == began:
            self._clock = time.monotonic()
        if step - self._first == enough and self.steps > 2 * enough:
            each = (time.monotonic() - self._clock) / (enough - began)
            self._bar.write(
                f"train: about {clock(each * (self.steps - step))} for the {self.steps - step} steps that are left "
                f"({each:.2f} s a step, over the first {enough - began}); validation comes on top",
                file=sys.stderr,
            )

    def _state(self) -> str:
        parts = {"train/loss": "loss {:.4f}", "val/gain_psnr": "val {:+.2f} dB"}
        latest = {name: curve[-1][1] for name, curve in self.curves.history.items() if name in parts}
        return " ".join(form.format(latest[name]) for name, form in parts.items() if name in latest)
