"""Records of runs, found again in the MLflow store by whatever one holds of a run."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cea.errors import DataError, of_system
from cea.io.images import file_sha256
from cea.lineage import times
from cea.lineage.record import FOLDER, Record, from_text, read_record, seconds_beside
from cea.lineage.spool import WEIGHTS_TAG
from cea.lineage.store import follow_the_folder, project_root, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class Found:
    """A record, and the figures of the evaluation that followed: None where they are out of reach."""

    record: Record
    summary: dict[str, Any] | None


def find_record(target: str) -> Found:
    """The record of the run that ``target`` is, or came from.

    Args:
        target: a run's id or name, a file of weights, a ``summary.json``, a ``report.html``.

    Raises:
        DataError: no such run, several of that name, or one that was made before runs had records.
    """
    path = Path(target)
    if path.suffix == ".html" or path.name == "lineage.json":
        text = _read(path)
        record = from_text(text, target)
        record = replace(record, seconds={**record.seconds, **seconds_beside(text)})
        known = _first(_runs(lambda run: run.info.run_id == record.run_id))
        return Found(record, None if known is None else _summary(known))
    if path.suffix == ".safetensors":
        digest = _weights(path)
        run = _first(_runs(lambda run: run.data.tags.get(WEIGHTS_TAG) == digest and _has_record(run)))
    elif path.suffix == ".json":
        text = _read(path)
        run = _first(_runs(lambda run: _summary_text(run) == text))
    else:
        run = _named(target)
    if run is None:
        raise DataError(
            f"{target}: no run of {tracking_uri()} made it",
            expected="the id or name of a run, or its weights, summary.json or report.html",
            remedy="run this in the project's folder, set MLFLOW_TRACKING_URI, or pass the run's report.html",
        )
    return Found(_record(run), _summary(run))


def _named(name: str) -> Run | None:
    runs = list(_runs(lambda run: name in (run.info.run_id, run.info.run_name)))
    whole = [run for run in runs if run.info.status == "FINISHED"] or runs
    if len(whole) > 1:
        raise DataError(
            f"{name}: the name of {len(whole)} runs",
            expected="one run",
            remedy="pass one of the ids " + ", ".join(run.info.run_id for run in whole[:5]),
        )
    return whole[0] if whole else None


def _runs(wanted: Any) -> Iterator[Run]:
    client = _client()
    if client is None:
        return
    token = None
    experiments = [one.experiment_id for one in client.search_experiments()]
    while True:
        page = client.search_runs(experiments, order_by=["attributes.start_time DESC"], page_token=token)
        yield from filter(wanted, page)
        token = page.token
        if not token:
            return


def _client() -> MlflowClient | None:
    """None where the project has no store yet; a store is not made for the asking."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (project_root() / "mlflow.db").is_file():
        return None
    from mlflow import MlflowClient

    with suppress(sqlite3.Error):  # MLflow says what is wrong with it
        follow_the_folder()
    return MlflowClient(tracking_uri())


def _has_record(run: Run) -> bool:
    client = _client()
    return client is not None and any(one.path == FOLDER for one in client.list_artifacts(run.info.run_id))


def _record(run: Run) -> Record:
    from mlflow.exceptions import MlflowException

    client = _client()
    assert client is not None  # it gave the run
    with TemporaryDirectory() as folder:
        try:
            record = read_record(Path(client.download_artifacts(run.info.run_id, FOLDER, folder)))
            return replace(record, seconds={**record.seconds, **_later_seconds(client, run, folder)})
        except (MlflowException, OSError):
            raise DataError(
                f"run {run.info.run_id} ({run.info.run_name}, {run.info.status}) has no record",
                expected="a training that ended, made since runs have records",
                remedy="pass another run; dvc repro --force train makes one",
            ) from None


def _later_seconds(client: MlflowClient, run: Run, folder: str) -> dict[str, float]:
    """Wall time of the stages that followed the training and wrote it to the run; none in runs of before."""
    if not any(one.path == times.ARTIFACTS for one in client.list_artifacts(run.info.run_id)):
        return {}
    files = Path(client.download_artifacts(run.info.run_id, times.ARTIFACTS, folder)).glob("*.json")
    return {path.stem: seconds for path in sorted(files) if (seconds := times.read(path)) is not None}


def _summary(run: Run) -> dict[str, Any] | None:
    text = _summary_text(run)
    return None if text is None else json.loads(text)


def _summary_text(run: Run) -> str | None:
    from mlflow.exceptions import MlflowException

    client = _client()
    assert client is not None  # it gave the run
    with TemporaryDirectory() as folder:
        try:
            path = client.download_artifacts(run.info.run_id, "summary.json", folder)
            return Path(path).read_text(encoding="utf-8")
        except (MlflowException, OSError):
            return None


def _first(runs: Iterator[Run]) -> Run | None:
    return next(runs, None)


def _weights(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"{path}: no such file", expected="trained weights", remedy="correct the path")
    return file_sha256(path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = "correct the path; what git does not hold comes by dvc checkout, or dvc repro"
        raise DataError(f"{path}: no such file", expected="a file that cea wrote", remedy=remedy) from None
    except OSError as error:
        raise of_system(error) from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text", expected="a file that cea wrote", remedy="correct the path") from None
