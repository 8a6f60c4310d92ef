"""The runs of a project as a table, what one of them occupies, and how it is deleted."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from cea.config import load, read_params
from cea.errors import DataError
from cea.lineage.cache import CacheEntries, of_weights
from cea.lineage.spool import WEIGHTS_TAG, Spool
from cea.lineage.store import failures, one_line, open_store, own_database, project_root, tracking_uri
from cea.lineage.tracking import ERROR_TAG, TrackingConfig, open_runs, run_is_dead

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class RunRow:
    """A run as the list shows it.

    Attributes:
        id: of MLflow.
        name: DVC's name of the experiment, or adapter, rank and steps.
        state: ``finished``, ``failed``, ``killed``, ``running``, ``not sent``.
        gain_psnr: mean gain in dB on the held-out images; None where not judged.
        adapter, rank: of the network; '' where unknown.
        steps: trained, or to train.
        seconds: in training steps; None where unknown.
        started: Unix time in ms.
        error: what a failed run stopped at.
    """

    id: str
    name: str
    state: str
    gain_psnr: float | None
    adapter: str
    rank: str
    steps: str
    seconds: float | None
    started: int
    error: str

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def experiment_name() -> str:
    """What params.yaml says, or the default."""
    path = project_root() / "params.yaml"
    config = load(TrackingConfig, read_params(path), "tracking") if path.is_file() else TrackingConfig()
    return config.experiment


def list_runs() -> list[RunRow]:
    """The runs of the project's experiment, latest first, those that wait to be sent in front.

    Where the store does not answer, a line says so, and those that wait are the list.

    Raises:
        DataError: a store that cannot be used, or none.
    """
    spool = Spool()
    unsent = {run_id: _waiting(spool, run_id) for run_id in spool.runs()}
    try:
        client, experiment = open_store(experiment_name(), create=False)
    except DataError as error:
        if unsent:
            logging.warning("%s", error)
            return list(unsent.values())
        raise
    with one_line():
        runs = client.search_runs([experiment], order_by=["attributes.start_time DESC"], max_results=5000)
    rows = [_row(run) for run in runs]
    known = {row.id for row in rows}
    waiting = [row for run_id, row in unsent.items() if run_id not in known]
    return waiting + [replace(row, state="not sent") if row.id in unsent else row for row in rows]


def find_run(wanted: str) -> tuple[MlflowClient, Run]:
    """A run by its id, the beginning of it, or its name.

    Raises:
        DataError: none, or several.
    """
    client, experiment = open_store(experiment_name(), create=False)
    with one_line():
        runs = client.search_runs([experiment], max_results=5000)
    matching = [run for run in runs if run.info.run_name == wanted or run.info.run_id.startswith(wanted)]
    if len(matching) == 1 and wanted:
        return client, matching[0]
    which = ", ".join(f"{run.info.run_id[:8]} ({run.info.run_name})" for run in matching[:5])
    raise DataError(
        f"{wanted!r}: {'several runs: ' + which if matching else 'no such run'}",
        expected="the id, its beginning, or the name of one run",
        remedy="cea runs lists them",
    )


def cache_of(client: MlflowClient, run: Run) -> CacheEntries:
    """What only this run left in DVC's cache; nothing where another run has the same weights."""
    digest = run.data.tags.get(WEIGHTS_TAG)
    with one_line():
        same = client.search_runs([run.info.experiment_id], f"tags.`{WEIGHTS_TAG}` = '{digest}'") if digest else []
    if len(same) != 1:
        return CacheEntries((), ())
    with TemporaryDirectory() as folder:
        try:
            weights = client.download_artifacts(run.info.run_id, "model/best.safetensors", folder)
        except failures():
            return CacheEntries((), ())
        return of_weights(project_root(), Path(weights))


def delete_run(client: MlflowClient, run: Run, cache: CacheEntries) -> None:
    """Remove the run from the store (for good from the project's own), its artifacts, and ``cache``.

    Raises:
        DataError: the run is open.
    """
    if run.info.status == "RUNNING" and not run_is_dead(run):
        raise DataError(
            f"run {run.info.run_id}: it is running", expected="a run that has ended", remedy="end its training first"
        )
    Spool().forget(run.info.run_id)
    with one_line():
        client.delete_run(run.info.run_id)
        if own_database() is not None:
            from mlflow.tracking._tracking_service.utils import _get_store

            _get_store(tracking_uri())._hard_delete_run(run.info.run_id)  # type: ignore[no-untyped-call]
    artifacts = artifact_folder(run)
    if artifacts is not None:
        shutil.rmtree(artifacts, ignore_errors=True)
    cache.remove()


def artifact_folder(run: Run) -> Path | None:
    """The run's own folder of artifacts on this machine; None where they lie elsewhere."""
    address = urlparse(run.info.artifact_uri)
    path = Path(unquote(address.path)).parent
    return path if address.scheme == "file" and path.name == run.info.run_id and path.is_dir() else None


def close_dead_runs() -> list[str]:
    """Close as KILLED what processes left open that are gone; the runs' ids."""
    client, experiment = open_store(experiment_name(), create=False)
    with one_line():
        dead = [run.info.run_id for run in open_runs(client, experiment) if run_is_dead(run)]
        for run_id in dead:
            client.set_terminated(run_id, "KILLED")
    return dead


def send_waiting() -> list[str]:
    """Send what a store that was down did not take; ids of the runs.

    Raises:
        DataError: the store does not answer.
    """
    spool = Spool()
    if not spool.runs():
        return []
    client, _ = open_store(experiment_name())
    with one_line():
        return spool.send(client)


def waiting_runs() -> list[str]:
    """Ids of the runs that still have something to send."""
    return Spool().runs()


def _row(run: Run) -> RunRow:
    params, metrics, tags = run.data.params, run.data.metrics, run.data.tags
    state = run.info.status.lower()
    steps = metrics.get("training/steps")
    return RunRow(
        id=run.info.run_id,
        name=run.info.run_name,
        state="killed" if state == "running" and run_is_dead(run) else state,
        gain_psnr=metrics.get("gain_psnr"),
        adapter=params.get("model.adapter", ""),
        rank=params.get("model.rank", ""),
        steps=params.get("train.max_steps", "") if steps is None else f"{steps:.0f}",
        seconds=metrics.get("training/seconds"),
        started=run.info.start_time,
        error=tags.get(ERROR_TAG, ""),
    )


def _waiting(spool: Spool, run_id: str) -> RunRow:
    began = spool.start_of(run_id).get("time", 0)
    return RunRow(run_id, spool.name_of(run_id), "not sent", None, "", "", "", None, began, "")
