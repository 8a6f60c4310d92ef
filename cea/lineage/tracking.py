"""Lineage in MLflow.

One run per trained model. ``train`` opens it; ``evaluate`` and ``report`` find it again by the digest of the
weights, because DVC may restore a training from its cache without running it, and run ids inside outputs would
make those outputs differ from run to run.

Tracking never stops a stage and never loses a record: what a store does not take is kept in the project's folder
(`cea.lineage.spool`) and sent when the store answers again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cea.config import Config, read_params
from cea.errors import DataError, InputError
from cea.io.images import file_sha256
from cea.lineage import times
from cea.lineage.facts import code_tag
from cea.lineage.liveness import ALIVE_TAG, PROCESS_TAG, Heartbeat, is_dead, process_mark
from cea.lineage.other_runs import STEPS, OtherRun, changes, is_repeat
from cea.lineage.presentation import (
    CURVES,
    NOTE_TAG,
    VIEW_TAG,
    description,
    figures,
    origin_tags,
    shown_tags,
    view_state,
)
from cea.lineage.spool import WEIGHTS_TAG, Operation, Spool, apply
from cea.lineage.store import failures, one_line, open_store, own_database, store_error, tracking_uri

CHANGES_NO_RESULT = True

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ERROR_TAG = "error"
EVALUATION_TAG = "cea.evaluation"
_LONGEST_VALUE = 500


class TrackingConfig(Config):
    """``params.yaml: tracking``."""

    experiment: str = "cea"
    """Name of the MLflow experiment that collects the runs."""
    system_metrics: bool = False
    """Whether to log the machine's load during training."""


@dataclass(frozen=True)
class NamedData:
    """A data set as a run's page names it.

    Attributes:
        name: ``train``, ``val`` or ``test``.
        digest: of its list, at most 36 characters.
        source: where the list lies.
        images: how many.
        recipes: how many images of each recipe.
        context: ``training``, ``validation`` or ``testing``.
    """

    name: str
    digest: str
    source: str
    images: int
    recipes: Mapping[str, int]
    context: str


class Tracker:
    """Runs of one experiment in one store, or in the project's folder where the store does not answer.

    Args:
        config: experiment name and options.

    Raises:
        ConfigError: MLFLOW_TRACKING_URI is not the address of a store.
    """

    def __init__(self, config: TrackingConfig) -> None:
        self._config = config
        self._spool = Spool()
        self._client: MlflowClient | None = None
        self._names: dict[str, str] = {}
        self.experiment_id = ""
        try:
            self._client, self.experiment_id = open_store(config.experiment)
            self._share_view()
            with one_line():
                self._spool.send(self._client)
        except DataError as error:
            self._client = None
            _say_kept(error)

    @property
    def client(self) -> MlflowClient:
        """The store.

        Raises:
            DataError: it does not answer.
        """
        if self._client is None:
            raise DataError(
                f"tracking store {tracking_uri()}: it does not answer",
                expected="an MLflow store",
                remedy="cea runs --sync, once it does",
            )
        return self._client

    @property
    def online(self) -> bool:
        """Whether the store takes records; from its first failure on it is not asked again."""
        return self._client is not None

    @contextmanager
    def training_run(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[str]:
        """Open a run with all parameters and the tags that are shown, yield its id, and close it.

        It ends as FINISHED, as FAILED with the error as a tag, or as KILLED where it was interrupted.
        """
        self.ask(lambda client: self._close_killed_runs(client))
        shown = shown_tags(tags) | origin_tags(tags, "pipeline/train.py") | {PROCESS_TAG: process_mark()}
        run_id = self._begin(name, shown, {})
        self._log_params(run_id, params)
        self.log_bytes(run_id, (json.dumps(dict(tags), indent=1) + "\n").encode(), "lineage.json")
        heart = Heartbeat(lambda: self._beat(run_id))
        load = self._system_metrics(run_id)
        status = "FINISHED"
        try:
            yield run_id
        except BaseException as error:
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            self.set_tags(run_id, {ERROR_TAG: _in_a_line(error)})
            raise
        finally:
            heart.stop()
            if load is not None:
                load.finish()
            self.describe(run_id)
            self._do(run_id, Operation("end", {"status": status, "time": _now_ms()}))

    def log_datasets(self, run_id: str, datasets: Sequence[NamedData]) -> None:
        """Record data sets as inputs of a run, and what they consist of as its artifact ``datasets.json``."""
        entries = [
            {
                "name": one.name,
                "digest": one.digest,
                "source": one.source,
                "profile": {"images": one.images},
                "context": one.context,
            }
            for one in datasets
        ]
        if not entries:
            return
        self._do(run_id, Operation("datasets", {"datasets": entries}))
        listed = {one.name: {"digest": one.digest, "images": one.images, "recipes": one.recipes} for one in datasets}
        self.log_bytes(run_id, (json.dumps(listed, indent=1) + "\n").encode(), "datasets.json")

    def log_history(self, run_id: str, history: Mapping[str, list[tuple[int, float]]]) -> None:
        """Record curves: metric name -> (step, value) pairs."""
        now = _now_ms()
        points = [[name, value, now, step] for name, curve in history.items() for step, value in curve]
        if points:
            self._do(run_id, Operation("metrics", {"points": points}))

    def log_summary(self, run_id: str, summary: Mapping[str, Any]) -> None:
        """Record those numbers of a nested summary that are shown (`cea.lineage.presentation.figures`)."""
        shown = figures(flatten(summary, text=False))
        self.log_history(run_id, {key: [(0, float(value))] for key, value in shown.items()})
        self.describe(run_id)

    def log_files(self, run_id: str, files: Mapping[Path, str]) -> None:
        """Attach files or folders (path -> folder in the run's artifacts, '' for the top)."""
        for path, folder in files.items():
            self._do(run_id, Operation("files", {"folder": folder}, (path,)))
        self.describe(run_id)

    def log_bytes(self, run_id: str, data: bytes, name: str) -> None:
        """Attach ``data`` as the file ``name``, which may lie in a folder."""
        with TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self._do(run_id, Operation("files", {"folder": ""}, (Path(folder),)))

    def log_model(self, run_id: str, artifact: str) -> None:
        """Make weights that are attached to the run a model that MLflow loads by itself."""
        self._do(run_id, Operation("model", {"artifact": artifact}))

    def log_time(self, run_id: str) -> None:
        """Attach how long the stage of this process has taken so far; nothing outside DVC."""
        name = times.stage_name()
        if name is not None:
            self.log_bytes(run_id, times.as_json(), f"{times.ARTIFACTS}/{name}.json")

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to a run."""
        self._do(run_id, Operation("tags", tags))

    def describe(self, run_id: str) -> None:
        """Write the run's description anew from what the store holds of it."""
        self.ask(lambda client: _describe(client, run_id))

    def adopt_evaluation(self, run_id: str, weights: Path) -> None:
        """Give a run the figures of an earlier one with the same weights.

        DVC does not evaluate anew where a training brings weights that it has judged already.
        """
        self.ask(lambda client: self._adopt(client, run_id, file_sha256(weights)))

    def ask(self, question: Callable[[MlflowClient], Any], default: Any = None) -> Any:
        """``question``'s answer; ``default`` where the store does not answer."""
        if self._client is None:
            return default
        try:
            return question(self._client)
        except failures() as error:
            self._lose(error)
            return default

    def run_of(self, weights: Path, tags: Mapping[str, str]) -> str:
        """The latest run that trained ``weights``.

        Where the store knows none (a training restored from DVC's cache into a fresh store), a new run with
        ``tags`` and the parameters of params.yaml is made, so that its figures are never lost.
        """
        digest = file_sha256(weights)
        waiting = [run_id for run_id in self._spool.runs() if self._spool.tags_of(run_id).get(WEIGHTS_TAG) == digest]
        if waiting:
            return waiting[0]
        runs = self.ask(lambda client: self._with_weights(client, digest), [])
        if runs:
            return str(runs[0].info.run_id)
        marks = {WEIGHTS_TAG: digest, "cea.training": "restored from cache"} | code_tag()
        shown = shown_tags(tags) | origin_tags(tags, "dvc repro") | marks
        run_id = self._begin(f"restored-{digest[:8]}", shown, {"weights": digest})
        if Path("params.yaml").is_file():
            self._log_params(run_id, read_params())
        self._do(run_id, Operation("end", {"status": "FINISHED", "time": _now_ms()}))
        return run_id

    def other_runs(self, run_id: str, count: int, folder: Path) -> list[OtherRun]:
        """The latest ``count`` finished runs with other weights, their ``summary.json`` copied into ``folder``.

        A run without one, or whose artifacts are out of reach, is passed over: a comparison must not stop a report.
        """
        others: list[OtherRun] = self.ask(lambda client: self._others(client, run_id, count, folder), [])
        return others

    def _others(self, client: MlflowClient, run_id: str, count: int, folder: Path) -> list[OtherRun]:
        own = client.get_run(run_id)
        others: list[OtherRun] = []
        weights = {own.data.tags.get(WEIGHTS_TAG)}
        for run in client.search_runs(
            [self.experiment_id], "attributes.status = 'FINISHED'", order_by=["attributes.start_time DESC"]
        ):
            if len(others) == count or run.data.tags.get(WEIGHTS_TAG) in weights:
                continue
            run_folder = folder / run.info.run_id
            run_folder.mkdir(parents=True, exist_ok=True)
            try:
                summary = Path(client.download_artifacts(run.info.run_id, "summary.json", str(run_folder)))
            except failures():
                continue
            weights.add(run.data.tags.get(WEIGHTS_TAG))
            name = f"{run.info.run_name} ({run.info.run_id[:6]})"
            steps = run.data.params.get(STEPS, "")
            others.append(OtherRun(name, summary, is_repeat(run, own), steps, changes(run, own)))
        return others

    def _share_view(self) -> None:
        """Once, and again where a newer version shows other columns."""

        def share(client: MlflowClient) -> None:
            view = view_state()
            if client.get_experiment(self.experiment_id).tags.get(VIEW_TAG) != view:
                client.set_experiment_tag(self.experiment_id, VIEW_TAG, view)

        self.ask(share)

    def _begin(self, name: str, tags: Mapping[str, str], more: Mapping[str, Any]) -> str:
        start = {"experiment": self._config.experiment, "name": name, "tags": dict(tags), "time": _now_ms()}
        run = self.ask(lambda client: client.create_run(self.experiment_id, tags=dict(tags), run_name=name))
        run_id = str(run.info.run_id) if run is not None else self._spool.begin({**start, **more})
        self._names[run_id] = name
        return run_id

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        flat = {key: value[:_LONGEST_VALUE] for key, value in flatten(params).items()}
        if flat:
            self._do(run_id, Operation("params", flat))

    def _do(self, run_id: str, operation: Operation) -> None:
        if self._client is not None:
            try:
                return apply(self._client, run_id, operation)
            except failures() as error:
                self._lose(error)
        try:
            self._spool.keep(run_id, operation, self._names.get(run_id, ""))
        except OSError as error:
            logging.warning("tracking: %s of run %s is lost: %s", operation.kind, run_id, error)

    def _lose(self, error: Exception) -> None:
        if self._client is not None:
            self._client = None
            _say_kept(store_error(error))

    def _beat(self, run_id: str) -> None:
        self.ask(lambda client: client.set_tag(run_id, ALIVE_TAG, str(int(time.time()))))

    def _system_metrics(self, run_id: str) -> Any:
        if not self._config.system_metrics or self._client is None:
            return None
        import mlflow
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        mlflow.set_tracking_uri(tracking_uri())
        monitor: Any = SystemMetricsMonitor(run_id)  # type: ignore[no-untyped-call]
        monitor.start()
        return monitor

    def _close_killed_runs(self, client: MlflowClient) -> None:
        for run in open_runs(client, self.experiment_id):
            if run_is_dead(run):
                client.set_terminated(run.info.run_id, "KILLED")

    def _with_weights(self, client: MlflowClient, digest: str) -> list[Run]:
        query = f"tags.`{WEIGHTS_TAG}` = '{digest}'"
        return list(client.search_runs([self.experiment_id], query, order_by=["attributes.start_time DESC"]))

    def _adopt(self, client: MlflowClient, run_id: str, digest: str) -> None:
        for run in self._with_weights(client, digest):
            if run.info.run_id == run_id or "gain_psnr" not in run.data.metrics:
                continue
            wanted = {key for key in run.data.metrics if key not in CURVES and not key.startswith("training/")}
            self.log_history(run_id, {key: [(0, run.data.metrics[key])] for key in sorted(wanted)})
            with TemporaryDirectory() as folder:
                for name in ("summary.json", "example.jpg"):
                    try:
                        path = Path(client.download_artifacts(run.info.run_id, name, folder))
                    except failures():  # a figure without its file is better than none
                        continue
                    self.log_files(run_id, {path: ""})
            self.set_tags(run_id, {EVALUATION_TAG: f"of run {run.info.run_id}, which has the same weights"})
            return


def runs_of_weights(digest: str) -> list[dict[str, str]]:
    """The runs of every experiment that trained weights with that SHA-256, latest first: id, name, status, experiment.

    Empty where the project has no store yet; a store is not made for the asking.
    """
    database = own_database()
    if database is not None and not database.is_file():
        return []
    from mlflow import MlflowClient

    with one_line():
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


def open_runs(client: MlflowClient, experiment_id: str) -> list[Run]:
    """The runs of an experiment that have not ended."""
    return list(client.search_runs([experiment_id], "attributes.status = 'RUNNING'"))


def run_is_dead(run: Run) -> bool:
    """Whether the process of a run that is still open is gone."""
    return is_dead(run.data.tags.get(PROCESS_TAG, ""), run.data.tags.get(ALIVE_TAG), run.info.start_time)


def _describe(client: MlflowClient, run_id: str) -> None:
    run = client.get_run(run_id)
    names = {file.path for file in client.list_artifacts(run_id)}
    address = f"get-artifact?path=example.jpg&run_uuid={run_id}" if "example.jpg" in names else None
    client.set_tag(run_id, NOTE_TAG, description(run_id, run.data.params, run.data.metrics, address))


def _say_kept(error: InputError) -> None:
    logging.warning("tracking: %s; until then records are kept in .mlflow-spool (cea runs --sync sends them)", error)


def _in_a_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:_LONGEST_VALUE]


def _now_ms() -> int:
    return int(time.time() * 1000)
