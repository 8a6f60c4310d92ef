"""A small training that a launcher starts in several processes: ``python -m tests.together SHARDS FOLDER WHAT``.

WHAT is JSON: ``train`` (changes of the configuration), ``end_at`` (after that step all processes end without a word),
``kill_at`` with ``rank`` and ``signal`` (that one process gets it; by default the second, SIGKILL), ``tell_at`` (who
started them gets SIGTERM), ``wait_at`` (all of them wait to be ended, which a file ``waits-RANK`` says). The gradients
that the optimiser sees are kept as ``gradients-RANK.pt``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file

from cea.errors import InputError, status_of
from cea.training import fit as module
from cea.training.processes import LOST, PeerError, Processes, speaks
from tests import toy_training
from tests.toy_training import MODEL, make_job

TRAIN = toy_training.TRAIN.model_copy(update={"max_steps": 12, "val_interval": 5, "precision": "float64"})


class Disturbance(Callback):
    """Keeps gradients, and ends or kills processes."""

    def __init__(self, folder: Path, what: dict[str, Any]) -> None:
        self.folder, self.what = folder, what
        self.kept: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.kept.append({name: one.grad.clone() for name, one in pl_module.named_parameters()})
        torch.save(self.kept, self.folder / f"gradients-{trainer.global_rank}.pt")

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.what.get("end_at"):
            os._exit(0)
        if trainer.global_step == self.what.get("kill_at") and trainer.global_rank == self.what.get("rank", 1):
            os.kill(os.getpid(), signal.Signals[self.what.get("signal", "SIGKILL")])
        if trainer.global_step == self.what.get("tell_at") and trainer.global_rank == 0:
            os.kill(os.getppid(), signal.SIGTERM)
        if trainer.global_step == self.what.get("wait_at"):
            (self.folder / f"waits-{trainer.global_rank}").touch()
            time.sleep(500)


def main(shards: Path, folder: Path, what: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    job = make_job(shards, folder)
    others = module._others
    module._others = lambda *arguments: [*others(*arguments), Disturbance(folder, what)]
    result = module.fit(job, TRAIN.model_copy(update=what.get("train", {})), MODEL, progress=False)
    if Processes.found().first:
        (folder / "history.json").write_text(json.dumps(result.history))


def assert_same_weights(left: Path, right: Path) -> None:
    """Of both files, and in double precision of the last checkpoint: weights and their average."""
    for name in ("best", "last"):
        a, b = (load_file(folder / f"out/{name}.safetensors") for folder in (left, right))
        assert a.keys() == b.keys()
        assert max(float((a[key] - b[key]).abs().max()) for key in a) < 1e-6
    a, b = (
        torch.load(sorted((folder / "state").glob("resume-*.ckpt"))[-1], weights_only=True) for folder in (left, right)
    )
    for part in ("state_dict", "current_model_state"):
        assert next(iter(a[part].values())).dtype == torch.float64
        assert max(float((a[part][key] - b[part][key]).abs().max()) for key in a[part]) < 1e-6


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
    except InputError as error:
        if isinstance(error, PeerError) and not speaks(Processes.found()):
            sys.exit(LOST)
        sys.stderr.write(f"error: {error}\n")
        sys.exit(status_of(error))
