"""The MLflow run of one training: opened before it, fed while it goes on, completed after it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cea.config import load
from cea.errors import foreign
from cea.io.images import encode_png, file_sha256, write_bytes
from cea.lineage.facts import as_tags, code_tag, dependency_digests, lineage, uncommitted_changes
from cea.lineage.presentation import CURVES
from cea.lineage.record import FOLDER, Record, make_record, to_line, write_record
from cea.lineage.spool import WEIGHTS_TAG
from cea.lineage.times import elapsed
from cea.lineage.tracking import NamedData, Tracker, TrackingConfig
from cea.types import ImageU8

CHANGES_NO_RESULT = True

COMPARISON, COMPARISON_TAG = "CEA_COMPARISON", "comparison"
"""The environment variable that names the comparison a run belongs to, and the tag it becomes in MLflow."""

_STAGE = "train"


class LiveCurves:
    """Sends each point of those training curves that are shown as it is made.

    Args:
        tracker: where to.
        run_id: of the run that is open.
    """

    def __init__(self, tracker: Tracker, run_id: str) -> None:
        self._tracker = tracker
        self._run_id = run_id
        self._sent: set[tuple[str, int]] = set()

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Send ``values`` at ``step``."""
        shown = {name: [(step, value)] for name, value in values.items() if name in CURVES}
        self._tracker.log_history(self._run_id, shown)
        self._sent.update((name, step) for name in shown)

    def complete(self, history: Mapping[str, list[tuple[int, float]]]) -> None:
        """Send what a run that was resumed had recorded before it was killed."""
        shown = {name: curve for name, curve in history.items() if name in CURVES}
        rest = {name: [p for p in curve if (name, p[0]) not in self._sent] for name, curve in shown.items()}
        self._tracker.log_history(self._run_id, rest)


@dataclass(frozen=True)
class TrainingRun:
    """A run that is open.

    Attributes:
        tracker: the store.
        run_id: of the run, and ``name`` its name.
        params: all of params.yaml.
        facts: where it comes from, as `cea.lineage.facts.lineage` says.
        live: takes each point of the curves as it is made.
    """

    tracker: Tracker
    run_id: str
    name: str
    params: Mapping[str, Any]
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
        whole = self._record(weights)
        facts = {**self.facts, "run": {"id": self.run_id, "name": self.name, "record": to_line(whole)}}
        write_bytes(record, (json.dumps(facts, indent=2) + "\n").encode())
        self.live.complete(history)
        self.tracker.set_tags(self.run_id, {WEIGHTS_TAG: file_sha256(weights)})
        beside = [path for path in (weights, weights.with_name("history.parquet")) if path.is_file()]
        files = dict.fromkeys(beside, "model") | {Path("params.yaml"): "", Path("dvc.lock"): ""}
        self.tracker.log_files(self.run_id, files)
        self.tracker.log_bytes(self.run_id, uncommitted_changes() or b"", "uncommitted.diff")
        self.tracker.log_summary(self.run_id, summary)
        with TemporaryDirectory() as folder:
            write_record(whole, Path(folder))
            self.tracker.log_files(self.run_id, {Path(folder): FOLDER})
        self.tracker.log_model(self.run_id, f"model/{weights.name}")
        self.tracker.adopt_evaluation(self.run_id, weights)

    def _record(self, weights: Path) -> Record:
        digests = {path.name: file_sha256(path) for path in sorted(weights.parent.glob("*.safetensors"))}
        run = (self.run_id, self.name)
        return make_record(Path(), run, self.params, digests, elapsed())


@contextmanager
def tracked(
    params: Mapping[str, Any], name: str, *, indexes: str | None = None, parent: str | None = None
) -> Iterator[TrainingRun]:
    """Open the run of a training; it is closed as finished, failed or killed.

    Args:
        params: all of params.yaml.
        name: of the run, where DVC gives it none.
        indexes: digest of the indexes of shards that were read from afar; those of data/shards are in DVC's digests.
        parent: digest of the weights that it starts from (``train.init``); None for random ones.
    """
    tracker = Tracker(load(TrackingConfig, params, "tracking"))
    digests = dependency_digests(_STAGE)
    facts = lineage(params["seed"]) | ({"shards": {"indexes": indexes}} if indexes else {})
    facts |= {"parent": {"sha256": parent}} if parent else {}
    tags = as_tags(facts) | {f"dvc.dep.{path}": digest for path, digest in digests.items()}
    tags |= code_tag()
    if os.environ.get(COMPARISON):
        tags[COMPARISON_TAG] = os.environ[COMPARISON]
    name = os.environ.get("DVC_EXP_NAME") or name
    with tracker.training_run(name, params, tags) as run_id:
        tracker.log_datasets(run_id, named_datasets(digests))
        yield TrainingRun(tracker, run_id, name, params, facts, LiveCurves(tracker, run_id))


_CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}


def named_datasets(digests: Mapping[str, str]) -> list[NamedData]:
    """The splits whose lists are among a stage's dependencies (path -> DVC digest), and the others beside them."""
    lists = [Path(path) for path in digests if Path(path).stem in _CONTEXTS and Path(path).suffix == ".json"]
    data_sets = []
    for name, context in _CONTEXTS.items():
        for path in sorted({one.with_name(f"{name}.json") for one in lists}):
            if path.is_file():
                with foreign(path, expected="the list of a split's shards", remedy="dvc repro --force dataset"):
                    recipes = json.loads(path.read_bytes())["recipes"]
                    counts = {recipe: one["samples"] for recipe, one in recipes.items()}
                digest = digests.get(str(path)) or hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
                data_sets.append(NamedData(name, digest, str(path), sum(counts.values()), counts, context))
    return data_sets
