"""Lineage in MLflow: the only file that imports it.

One run per trained model. ``train`` opens it; ``evaluate`` and ``report`` find it again by the digest of the
weights, because DVC may restore a training from its cache without running it, and run ids inside outputs would
make those outputs differ from run to run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cea.config import Config
from cea.errors import DataError

CHANGES_NO_RESULT = True

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a server that is not there should not hold up minutes
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # it configures its own logger on import

if TYPE_CHECKING:
    from mlflow import MlflowClient

WEIGHTS_TAG = "cea.weights_sha256"
PROCESS_TAG = "cea.process"
_LONGEST_VALUE = 500
_BATCH = 900  # the server takes at most 1000 metrics a call


class TrackingConfig(Config):
    """``params.yaml: tracking``."""

    experiment: str = "cea"
    """Name of the MLflow experiment that collects the runs."""
    system_metrics: bool = False
    """Whether to log the machine's load during training."""


def project_root() -> Path:
    """The repository's folder, also inside ``dvc exp run --temp`` and queued runs (they set DVC_ROOT)."""
    return Path(os.environ.get("DVC_ROOT", Path.cwd())).resolve()


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI where set, else a SQLite file in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project_root() / 'mlflow.db'}"


class Tracker:
    """Runs of one experiment in one store.

    Args:
        config: experiment name and options.
    """

    def __init__(self, config: TrackingConfig) -> None:
        self._config = config
        self.client, self.experiment_id = _open_store(config.experiment)

    @contextmanager
    def training_run(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[str]:
        """Open a run with all parameters and lineage tags, yield its id, and close it as finished or failed."""
        import mlflow

        mlflow.set_tracking_uri(tracking_uri())
        self._close_killed_runs()
        tags = {**tags, PROCESS_TAG: f"{platform.node()}:{os.getpid()}"}
        run = self.client.create_run(self.experiment_id, tags=tags, run_name=name)
        run_id = str(run.info.run_id)
        with mlflow.start_run(run_id=run_id, log_system_metrics=self._config.system_metrics):
            mlflow.log_params({key: value[:_LONGEST_VALUE] for key, value in flatten(params).items()})
            yield run_id

    def log_datasets(self, digests: Mapping[str, str], context: str) -> None:
        """Record data sets (path -> DVC digest, at most 36 characters) as inputs of the run now open."""
        import mlflow
        from mlflow.data.dataset import Dataset
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]

        datasets: list[Dataset | None] = [
            MetaDataset(LocalArtifactDatasetSource(path), path, digest)  # type: ignore[abstract]  # it is usable
            for path, digest in digests.items()
        ]
        mlflow.log_inputs(datasets, [context] * len(datasets), [{} for _ in datasets])

    def log_history(self, run_id: str, history: Mapping[str, list[tuple[int, float]]]) -> None:
        """Record curves: metric name -> (step, value) pairs."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(key, value, now, step) for key, curve in history.items() for step, value in curve]
        for start in range(0, len(points), _BATCH):
            self.client.log_batch(run_id, metrics=points[start : start + _BATCH])

    def log_summary(self, run_id: str, summary: Mapping[str, Any]) -> None:
        """Record every number of a nested summary under its dotted name."""
        numbers = flatten(summary, text=False)
        self.log_history(run_id, {_metric_name(key): [(0, float(value))] for key, value in numbers.items()})

    def log_files(self, run_id: str, files: Mapping[Path, str]) -> None:
        """Attach files or folders (path -> folder in the run's artifacts, '' for the top)."""
        for path, folder in files.items():
            log = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
            log(run_id, str(path), folder or None)

    def log_bytes(self, run_id: str, data: bytes, name: str) -> None:
        """Attach ``data`` as the file ``name``, which may lie in a folder."""
        with TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self.client.log_artifacts(run_id, folder)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to a run."""
        for key, value in tags.items():
            self.client.set_tag(run_id, key, value)

    def _close_killed_runs(self) -> None:
        """Runs that a killed process of this machine left open are closed as such."""
        opened = self.client.search_runs([self.experiment_id], "attributes.status = 'RUNNING'")
        for run in opened:
            host, _, process = run.data.tags.get(PROCESS_TAG, "").rpartition(":")
            if host == platform.node() and not Path("/proc", process).exists():
                self.client.set_terminated(run.info.run_id, "KILLED")

    def run_of(self, weights: Path, tags: Mapping[str, str]) -> str:
        """The latest run that trained ``weights``.

        Where the store knows none (a training restored from DVC's cache into a fresh store), a new run with
        ``tags`` is made, so that its figures are never lost.
        """
        digest = file_sha256(weights)
        runs = self.client.search_runs(
            [self.experiment_id], f"tags.`{WEIGHTS_TAG}` = '{digest}'", order_by=["attributes.start_time DESC"]
        )
        if runs:
            return str(runs[0].info.run_id)
        run = self.client.create_run(
            self.experiment_id,
            tags={**tags, WEIGHTS_TAG: digest, "cea.training": "restored from cache"},
            run_name=f"restored-{digest[:8]}",
        )
        self.client.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def other_runs(self, run_id: str, count: int, folder: Path) -> list[OtherRun]:
        """The latest ``count`` finished runs with other weights, their ``summary.json`` copied into ``folder``.

        A run without one, or whose artifacts are out of reach, is passed over: a comparison must not stop a report.
        """
        from mlflow.exceptions import MlflowException

        own = self.client.get_run(run_id)
        others: list[OtherRun] = []
        weights = {own.data.tags.get(WEIGHTS_TAG)}
        for run in self.client.search_runs(
            [self.experiment_id], "attributes.status = 'FINISHED'", order_by=["attributes.start_time DESC"]
        ):
            if len(others) == count or run.data.tags.get(WEIGHTS_TAG) in weights:
                continue
            place = folder / run.info.run_id
            place.mkdir(parents=True, exist_ok=True)
            try:
                summary = Path(self.client.download_artifacts(run.info.run_id, "summary.json", str(place)))
            except (MlflowException, OSError):
                continue
            weights.add(run.data.tags.get(WEIGHTS_TAG))
            name = f"{run.info.run_name} ({run.info.run_id[:6]})"
            others.append(OtherRun(name, summary, _without_seeds(run.data.params) == _without_seeds(own.data.params)))
        return others


@dataclass(frozen=True)
class OtherRun:
    """Another run of the store: its name, its ``summary.json``, and whether nothing but the seed tells it from ours."""

    name: str
    summary: Path
    repeat: bool


def _without_seeds(params: Mapping[str, str]) -> dict[str, str]:
    """The parameters that decide a result, chance apart."""
    return {key: value for key, value in params.items() if not key.endswith("seed") and key.split(".")[0] in _DECIDING}


_DECIDING = ("ingest", "synthesize", "recipes", "shard", "model", "train")


class LiveCurves:
    """Sends each point of the training curves as it is made.

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
        self._tracker.log_history(self._run_id, {name: [(step, value)] for name, value in values.items()})
        self._sent.update((name, step) for name in values)

    def complete(self, history: Mapping[str, list[tuple[int, float]]]) -> None:
        """Send what a run that was resumed had recorded before it was killed."""
        rest = {name: [p for p in curve if (name, p[0]) not in self._sent] for name, curve in history.items()}
        self._tracker.log_history(self._run_id, rest)


def runs_of_weights(digest: str) -> list[dict[str, str]]:
    """The runs of every experiment that trained weights with that SHA-256, latest first: id, name, status, experiment.

    Empty where the project has no store yet; a store is not made for the asking.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (project_root() / "mlflow.db").is_file():
        return []
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri())
    names = {one.experiment_id: one.name for one in client.search_experiments()}
    runs = client.search_runs(list(names), f"tags.`{WEIGHTS_TAG}` = '{digest}'", order_by=["start_time DESC"])
    return [
        {
            "id": run.info.run_id,
            "name": run.info.run_name,
            "status": run.info.status,
            "experiment": names[run.info.experiment_id],
        }
        for run in runs
    ]


def flatten(values: Mapping[str, Any], prefix: str = "", *, text: bool = True) -> dict[str, Any]:
    """Nested mappings as dotted keys; ``text`` spells the values, otherwise only numbers are kept."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}.", text=text))
        elif text:
            flat[name] = value if isinstance(value, str) else json.dumps(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[name] = value
    return flat


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _metric_name(key: str) -> str:
    return "".join(char if char.isalnum() or char in "_-./ " else "_" for char in key)


def _open_store(experiment: str) -> tuple[MlflowClient, str]:
    """Client and experiment id; the first use of a fresh SQLite file is serialised across processes."""
    from filelock import FileLock

    logging.getLogger("alembic").setLevel(logging.WARNING)
    with warnings.catch_warnings(), FileLock(project_root() / ".mlflow.lock"):
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(tracking_uri())
        try:
            return client, _experiment_id(client, experiment)
        except MlflowException as error:
            raise DataError(
                f"tracking store {tracking_uri()}: {str(error).splitlines()[0]}",
                expected="an MLflow store that answers",
                remedy="start the server, or unset MLFLOW_TRACKING_URI to use the project's own SQLite file",
            ) from None


def _experiment_id(client: MlflowClient, experiment: str) -> str:
    known = client.get_experiment_by_name(experiment)
    if known is not None:
        return str(known.experiment_id)
    location = None if os.environ.get("MLFLOW_TRACKING_URI") else (project_root() / "mlartifacts").as_uri()
    return str(client.create_experiment(experiment, artifact_location=location))
