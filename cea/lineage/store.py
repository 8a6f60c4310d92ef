"""Where the MLflow records of a project lie, and whether the store can be used."""

from __future__ import annotations

import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cea.errors import ConfigError, DataError

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a server that is not there should not hold up minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # "View run ..." amid what is made for programs
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # it configures its own logger on import

logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
"""It logs a traceback of each failure that it raises as well; `one_line` tells it."""

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
"""How an address of a store begins; databases also as ``postgresql+driver``."""

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns of MLflow's database that hold absolute places of artifacts."""

_ARTIFACTS = "mlartifacts"

_REMEDIES = (
    ("out-of-date", "use the MLflow of requirements.lock, or copy the database, then: mlflow db upgrade {uri}"),
    ("not a database", "move the file away: a new one is made, artifacts stay"),
    ("malformed", "move the file away: a new one is made, artifacts stay"),
    ("readonly", "make it and its folder writable"),
    ("locked", "end what holds the database open, then try again"),
)


def project_root() -> Path:
    """The repository's folder, also inside ``dvc exp run --temp`` and queued runs (they set DVC_ROOT)."""
    return Path(os.environ.get("DVC_ROOT", Path.cwd())).resolve()


def own_database() -> Path | None:
    """The project's SQLite file, whether it exists or not; None where MLFLOW_TRACKING_URI names a store."""
    return None if os.environ.get("MLFLOW_TRACKING_URI") else project_root() / "mlflow.db"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI where set, else a SQLite file in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project_root() / 'mlflow.db'}"


def check_address() -> None:
    """Refuse what can never be a store, before anything is tried.

    Raises:
        ConfigError: an address without a scheme, a folder, a project's path that SQLite's address cannot hold.
    """
    uri = tracking_uri()
    scheme = uri.partition("://")[0].partition("+")[0] if "://" in uri else ""
    if own_database() is not None and "?" in uri:
        raise ConfigError(
            f"{project_root()}: the path holds a '?'",
            expected="a path that SQLite's address can hold",
            remedy="rename the folder, or set MLFLOW_TRACKING_URI",
        )
    if scheme in SCHEMES or uri == "databricks":
        return
    path = uri.removeprefix("file://").removeprefix("file:")
    folder = uri.startswith(("file:", "/", "."))
    raise ConfigError(
        f"MLFLOW_TRACKING_URI = {uri!r}: not the address of a store",
        expected="http://HOST:PORT, sqlite:///FILE or postgresql://...",
        remedy=f"write sqlite:///{path}/mlflow.db" if folder else f"write http://{uri}, or unset it",
    )


def failures() -> tuple[type[Exception], ...]:
    """All that MLflow, SQLAlchemy, Alembic and the network raise where a store cannot be used."""
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, CommandError, OSError)


@contextmanager
def one_line() -> Iterator[None]:
    """Turn every failure of the store into a DataError."""
    try:
        yield
    except failures() as error:
        raise store_error(error) from None


def store_error(error: Exception) -> DataError:
    """A failure of the store as what was wrong, what was expected and what to do."""
    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    text = text.split(") ", 1)[-1] if text.startswith("(") else text
    default = (
        "repair or move away the database; tracking stays in the project's folder"
        if own_database() is not None
        else "start the server, or unset MLFLOW_TRACKING_URI to use the project's own SQLite file"
    )
    remedies = (
        remedy.format(uri=_without_password(tracking_uri())) for word, remedy in _REMEDIES if word in str(error)
    )
    return DataError(
        f"tracking store {_without_password(tracking_uri())}: {text.split('. ')[0][:300]}",
        expected="an MLflow store that answers",
        remedy=next(remedies, default),
    )


def open_store(experiment: str, *, create: bool = True) -> tuple[MlflowClient, str]:
    """Client and experiment id; the first use of a fresh SQLite file is serialised across processes.

    Args:
        experiment: its name.
        create: make the store and the experiment where they are not there.

    Raises:
        ConfigError: an address that is none.
        DataError: a store that cannot be used, an experiment that was deleted, or is not there and not to be made.
    """
    from filelock import FileLock

    check_address()
    if not create:
        expect_store()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with one_line(), warnings.catch_warnings(), FileLock(project_root() / ".mlflow.lock"):
        warnings.simplefilter("ignore")
        _probe()
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri())
        experiment_id = _experiment_id(client, experiment, create)
        follow_the_folder()
        return client, experiment_id


def expect_store() -> None:
    """Refuse a project that has no store yet: MLflow would make an empty one.

    Raises:
        DataError: naming the database that is missing.
    """
    database = own_database()
    if database is not None and not database.is_file():
        raise DataError(f"{database}: no such file", expected="a project that has trained", remedy="run dvc repro")


def _probe() -> None:
    """Look into the SQLite file first: MLflow retries a broken one for minutes, with a traceback for each try."""
    database = own_database()
    if database is None or not database.exists():
        return
    if not (os.access(database, os.W_OK) and os.access(database.parent, os.W_OK)):
        raise OSError(f"{database} is readonly")
    try:
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            connection.execute("SELECT name FROM sqlite_master").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.Error as error:
        raise OSError(str(error)) from None


def _experiment_id(client: MlflowClient, name: str, create: bool) -> str:
    known = client.get_experiment_by_name(name)
    if known is None and not create:
        raise DataError(
            f"tracking store {_without_password(tracking_uri())}: no experiment {name!r}",
            expected="an experiment with runs",
            remedy="run dvc repro, or correct tracking.experiment in params.yaml",
        )
    if known is None:
        location = None if own_database() is None else (project_root() / _ARTIFACTS).as_uri()
        return str(client.create_experiment(name, artifact_location=location))
    if known.lifecycle_stage == "deleted":
        raise DataError(
            f"experiment {name!r} was deleted in MLflow",
            expected="an experiment that takes runs",
            remedy=f"mlflow experiments restore --experiment-id {known.experiment_id}, or another tracking.experiment",
        )
    return str(known.experiment_id)


def follow_the_folder() -> None:
    """MLflow stores absolute places: where the project was moved or copied, they are made to name this folder."""
    database = own_database()
    if database is None:
        return
    here = (project_root() / _ARTIFACTS).as_uri()
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        places = {row[0] for row in connection.execute("SELECT artifact_location FROM experiments")}
        for old in places:
            if old and old.endswith(f"/{_ARTIFACTS}") and old != here:
                _move(connection, old, here)
        connection.commit()


def _move(connection: sqlite3.Connection, old: str, new: str) -> None:
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, column in LOCATIONS:
        if table in tables:
            moved = f"{column} = ? || substr({column}, ?)"
            below = f"{column} = ? OR substr({column}, 1, ?) = ?"
            values = (new, len(old) + 1, old, len(old) + 1, f"{old}/")
            connection.execute(f"UPDATE {table} SET {moved} WHERE {below}", values)


def _without_password(uri: str) -> str:
    head, at, tail = uri.rpartition("@")
    return f"{head.rpartition(':')[0]}:***@{tail}" if at and head.count(":") > 1 else uri
