"""The MLflow run of one training: opened before it, fed while it goes on, completed after it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cea.config import load
from cea.io.images import encode_png, write_bytes
from cea.lineage.facts import as_tags, dependency_digests, lineage, uncommitted_changes
from cea.lineage.record import FOLDER, Record, make_record, to_line, write_record
from cea.lineage.tracking import WEIGHTS_TAG, LiveCurves, Tracker, TrackingConfig, file_sha256
from cea.types import ImageU8

CHANGES_NO_RESULT = True

COMPARISON, COMPARISON_TAG = "CEA_COMPARISON", "comparison"
"""The environment variable that names the comparison a run belongs to, and the tag it becomes in MLflow."""

_STAGE = "train"


@dataclass(frozen=True)
class TrainingRun:
    """A run that is open.

    Attributes:
        tracker: the store.
        run_id: of the run, and ``name`` its name.
        params: all of params.yaml.
        started: when, by the monotonic clock.
        facts: where it comes from, as `cea.lineage.facts.lineage` says.
        live: takes each point of the curves as it is made.
    """

    tracker: Tracker
    run_id: str
    name: str
    params: Mapping[str, Any]
    started: float
    facts: Mapping[str, Any]
    live: LiveCurves

    def show(self, step: int, picture: ImageU8) -> None:
        """Attach a picture of what the network makes of the validation images after ``step`` steps."""
        self.tracker.log_bytes(self.run_id, encode_png(picture), f"validation/step-{step:07d}.png")

    def finish(
        self,
        record: Path,
        weights: Path,
        history: Mapping[str, list[tuple[int, float]]],
        summary: Mapping[str, Any],
    ) -> None:
        """Complete the curves, attach the weights and what made them, and write the facts to ``record`` (JSON)."""
        self.live.complete(history)
        self.tracker.set_tags(self.run_id, {WEIGHTS_TAG: file_sha256(weights)})
        self.tracker.log_files(self.run_id, {weights: "model", Path("params.yaml"): "", Path("dvc.lock"): ""})
        self.tracker.log_bytes(self.run_id, uncommitted_changes() or b"", "uncommitted.diff")
        self.tracker.log_summary(self.run_id, summary)
        whole = self._record(weights)
        with TemporaryDirectory() as folder:
            write_record(whole, Path(folder))
            self.tracker.log_files(self.run_id, {Path(folder): FOLDER})
        facts = {**self.facts, "run": {"id": self.run_id, "name": self.name, "record": to_line(whole)}}
        write_bytes(record, (json.dumps(facts, indent=2) + "\n").encode())

    def _record(self, weights: Path) -> Record:
        digests = {path.name: file_sha256(path) for path in sorted(weights.parent.glob("*.safetensors"))}
        run = (self.run_id, self.name)
        return make_record(Path(), run, self.params, digests, time.monotonic() - self.started)


@contextmanager
def tracked(params: Mapping[str, Any], name: str) -> Iterator[TrainingRun]:
    """Open the run of a training; it is closed as finished, failed or killed.

    Args:
        params: all of params.yaml.
        name: of the run, where DVC gives it none.
    """
    tracker = Tracker(load(TrackingConfig, params, "tracking"))
    digests = dependency_digests(_STAGE)
    facts = lineage(params["seed"])
    tags = as_tags(facts) | {f"dvc.dep.{path}": digest for path, digest in digests.items()}
    if os.environ.get(COMPARISON):
        tags[COMPARISON_TAG] = os.environ[COMPARISON]
    name = os.environ.get("DVC_EXP_NAME") or name
    started = time.monotonic()
    with tracker.training_run(name, params, tags) as run_id:
        tracker.log_datasets({path: digest for path, digest in digests.items() if "dataset" in path}, "training")
        yield TrainingRun(tracker, run_id, name, params, started, facts, LiveCurves(tracker, run_id))
