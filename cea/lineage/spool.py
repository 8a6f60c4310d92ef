"""Records for a store that does not answer: kept in the project's folder in order, and sent later.

A record is an *operation* on one run: parameters, tags, points of curves, data sets, files, its end. `apply` does one
on a store; `Spool` keeps those that could not be done, each as a numbered JSON file with a folder for its files.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from cea.errors import foreign
from cea.io.documents import read_json
from cea.io.images import write_bytes
from cea.lineage.logged_model import log_restorer
from cea.lineage.store import project_root

if TYPE_CHECKING:
    from mlflow import MlflowClient

WEIGHTS_TAG = "cea.weights_sha256"
OFFLINE_TAG = "cea.offline"
"""Of a run that began while its store was out of reach: the name it had until then."""

_OFFLINE = "offline-"
_REMEDY = "remove the folder it lies in: what waits there is lost"
_METRICS, _OTHERS = 900, 90  # the server takes at most 1000 points, and 100 parameters or tags, a call


@dataclass(frozen=True)
class Operation:
    """One thing to record of a run.

    Attributes:
        kind: ``params``, ``tags``, ``metrics``, ``datasets``, ``files``, ``model`` or ``end``.
        values: name -> text for parameters and tags; ``points``: [name, value, Unix ms, step]; ``datasets``: entries
            with name, digest, source, profile, context; ``folder`` in the run's artifacts; ``artifact``, the weights
            that become a model; ``status`` and ``time``.
        files: what ``files`` attaches: files, or a folder whose content it is.
    """

    kind: str
    values: Mapping[str, Any]
    files: tuple[Path, ...] = ()


def apply(client: MlflowClient, run_id: str, operation: Operation) -> None:
    """Do ``operation`` on a store; whatever the store raises goes through."""
    from mlflow.entities import Metric, Param, RunTag

    values = operation.values
    match operation.kind:
        case "params":
            entries = [Param(key, value) for key, value in values.items()]
            for start in range(0, len(entries), _OTHERS):
                client.log_batch(run_id, params=entries[start : start + _OTHERS])
        case "tags":
            tags = [RunTag(key, value) for key, value in values.items()]
            for start in range(0, len(tags), _OTHERS):
                client.log_batch(run_id, tags=tags[start : start + _OTHERS])
        case "metrics":
            points = [Metric(*point) for point in values["points"]]
            for start in range(0, len(points), _METRICS):
                client.log_batch(run_id, metrics=points[start : start + _METRICS])
        case "datasets":
            client.log_inputs(run_id, [_dataset(entry) for entry in values["datasets"]])
        case "files":
            for path in operation.files:
                log = client.log_artifacts if path.is_dir() else client.log_artifact
                log(run_id, str(path), values["folder"] or None)
        case "model":
            log_restorer(client, run_id, values["artifact"])
        case "end":
            client.set_terminated(run_id, values["status"], values["time"])
        case other:
            raise AssertionError(other)


def _dataset(entry: Mapping[str, Any]) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": entry["source"]})
    profile = json.dumps(entry["profile"])
    dataset = Dataset(entry["name"], entry["digest"], "local", source, schema=None, profile=profile)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", entry["context"])])


class Spool:
    """The records in ``.mlflow-spool`` of the project's folder, one folder per run."""

    def __init__(self) -> None:
        self.folder = project_root() / ".mlflow-spool"

    def begin(self, start: Mapping[str, Any]) -> str:
        """A run that the store does not know yet: experiment, name, tags, time; the id it has until it is sent."""
        run_id = f"{_OFFLINE}{uuid.uuid4().hex}"
        write_bytes(self.folder / run_id / "run.json", json.dumps(dict(start)).encode())
        return run_id

    def keep(self, run_id: str, operation: Operation, name: str = "") -> None:
        """Write down one operation behind those that are there; its files are copied.

        Args:
            run_id: of the run.
            operation: to be done later.
            name: of the run, where it is known, for those who look while the store is away.
        """
        run_folder = self.folder / run_id
        run_folder.mkdir(parents=True, exist_ok=True)
        number_in_order = f"{time.time_ns():020d}"
        copied = []
        for number, path in enumerate(operation.files):
            target = run_folder / number_in_order / str(number)
            target.mkdir(parents=True)
            if path.is_dir():
                shutil.copytree(path, target, dirs_exist_ok=True)
            else:
                shutil.copy2(path, target)
            copied.append(f"{number_in_order}/{number}")
        entry = {"kind": operation.kind, "values": dict(operation.values), "files": copied, "run": name}
        write_bytes(run_folder / f"{number_in_order}.json", json.dumps(entry).encode())

    def runs(self) -> list[str]:
        """The runs that have something to send, those that began last in front.

        A run whose beginning could not be written (a full disk) has nothing that could be sent.
        """
        places = [path for path in self.folder.glob("*") if path.is_dir() and self._began(path)]
        return [path.name for path in sorted(places, key=lambda path: path.stat().st_ctime, reverse=True)]

    @staticmethod
    def _began(place: Path) -> bool:
        return not place.name.startswith(_OFFLINE) or (place / "run.json").is_file()

    def start_of(self, run_id: str) -> dict[str, Any]:
        """What `begin` was told; empty for a run that the store knows."""
        path = self.folder / run_id / "run.json"
        return read_json(path, expected="what began a run", remedy=_REMEDY) if path.is_file() else {}

    def name_of(self, run_id: str) -> str:
        """The run's name as far as it was told; '' where it was not."""
        entries = (read_json(path, expected="what waits", remedy=_REMEDY) for path in self._entries(run_id))
        names = (entry.get("run", "") for entry in entries)
        return self.start_of(run_id).get("name", "") or next(filter(None, names), "")

    def tags_of(self, run_id: str) -> dict[str, str]:
        """All tags that wait for that run."""
        tags = dict(self.start_of(run_id).get("tags", {}))
        for _, operation in self._waiting(run_id):
            tags |= operation.values if operation.kind == "tags" else {}
        return tags

    def ended(self, run_id: str) -> bool:
        """Whether the run's end is among what waits."""
        return any(operation.kind == "end" for _, operation in self._waiting(run_id))

    def send(self, client: MlflowClient) -> list[str]:
        """Send what waits for this store, in order; ids of the runs there. What was sent is removed at once.

        A run that began in another store, or was deleted, stays: it must not hold up the others.
        """
        if not self.folder.is_dir():
            return []
        with FileLock(self.folder / ".lock"):
            waiting = [run_id for run_id in reversed(self.runs()) if self._is_taken(client, run_id)]
            return [self._send_run(client, run_id) for run_id in waiting]

    def forget(self, run_id: str) -> None:
        """Drop what waits for a run."""
        shutil.rmtree(self.folder / run_id, ignore_errors=True)

    def _is_taken(self, client: MlflowClient, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        if run_id.startswith(_OFFLINE):
            return True
        try:
            return bool(client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _send_run(self, client: MlflowClient, run_id: str) -> str:
        known, ended = self._in_store(client, run_id), self.ended(run_id)
        for path, operation in list(self._waiting(run_id)):
            apply(client, known, operation)
            path.unlink()
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        if ended:
            shutil.rmtree(self.folder / run_id, ignore_errors=True)
        elif not self.start_of(run_id):
            with suppress(OSError):  # its process has just written down more
                (self.folder / run_id).rmdir()
        return known

    def _in_store(self, client: MlflowClient, run_id: str) -> str:
        if not run_id.startswith(_OFFLINE):
            return run_id
        start = self.start_of(run_id)
        experiments = [one.experiment_id for one in client.search_experiments()]
        own = [f"tags.`{OFFLINE_TAG}` = '{run_id}'"]
        same = [f"tags.`{WEIGHTS_TAG}` = '{start['weights']}'"] if start.get("weights") else []
        for query in own + same:
            runs = client.search_runs(experiments, query, order_by=["attributes.start_time DESC"])
            if runs:
                return str(runs[0].info.run_id)
        experiment = client.get_experiment_by_name(start["experiment"])
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(start["experiment"])
        tags = start["tags"] | {OFFLINE_TAG: run_id}
        run = client.create_run(experiment_id, start_time=start["time"], tags=tags, run_name=start["name"])
        return str(run.info.run_id)

    def _waiting(self, run_id: str) -> Iterator[tuple[Path, Operation]]:
        for path in self._entries(run_id):
            entry = read_json(path, expected="what waits for the store", remedy=_REMEDY)
            with foreign(path, expected="what waits for the store", remedy=_REMEDY):
                files = tuple(path.parent / name for name in entry["files"])
                operation = Operation(entry["kind"], entry["values"], files)
            yield path, operation

    def _entries(self, run_id: str) -> list[Path]:
        return sorted((self.folder / run_id).glob("[0-9]*.json"))
