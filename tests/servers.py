"""Real servers for tests, on the loopback interface alone: S3, PostgreSQL, MLflow. Each is ended with its block."""

from __future__ import annotations

import getpass
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest

S3_KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
"""What every client of `s3` needs in its environment; moto takes any keys."""

HOST = "127.0.0.1"
_PATIENCE_S = 180

_MOTO = """
import sys
from moto.server import main
main(sys.argv[1:])
"""


def free_port() -> int:
    """A port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], log: Path, ready: Callable[[], object], **options: object) -> Iterator[int]:
    """A process group that lives as long as the block; yields the process's number once ``ready`` raises nothing."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, **options)  # type: ignore[call-overload]
    try:
        _wait(process, log, ready)
        yield process.pid
    finally:
        end(process.pid)
        process.wait()


def end(group: int) -> None:
    """Kill a process group; one that is gone already is no fault."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


@contextmanager
def s3(folder: Path, bucket: str) -> Iterator[str]:
    """An S3 server with an empty bucket; yields its address. It forgets everything at the end."""
    import boto3

    port = free_port()
    address = f"http://{HOST}:{port}"
    command = [sys.executable, "-c", _MOTO, "-H", HOST, "-p", str(port)]
    with running(command, folder / "s3.log", lambda: _answers(f"{address}/moto-api/")):
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket=bucket)
        yield address


@contextmanager
def mlflow_server(
    folder: Path, store: str, artifacts: str, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """MLflow's server; yields its process group, to be killed. ``store`` and ``artifacts`` outlive it."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
    command += ["--artifacts-destination", artifacts, "--host", HOST, "--port", str(port)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTEST_"))}
    more = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**kept, **more, **(environment or {})}
    log = folder / "mlflow.log"
    with running(command, log, lambda: _answers(f"http://{HOST}:{port}/health"), env=environment) as group:
        yield group


def postgresql_programs() -> Path | None:
    """The folder with ``initdb`` and ``postgres``; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places and (places[-1] / "postgres").is_file() else None


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server of its own, owned by an unprivileged user; yields the address of its empty database ``cea``.

    Skips the test where PostgreSQL is not installed.
    """
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    import psycopg2

    user = "nobody" if os.geteuid() == 0 else getpass.getuser()  # the server refuses to run as root
    folder = Path(mkdtemp(prefix="cea-postgresql-"))  # outside pytest's folders, which other users may not enter
    try:
        password, port = secrets.token_hex(8), free_port()
        (folder / "password").write_text(password)
        owner = pwd.getpwnam(user)
        for path in (folder, folder / "password"):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        options = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": [], "cwd": folder}
        as_user = options if os.geteuid() == 0 else {"cwd": folder}
        data = folder / "data"
        made = [programs / "initdb", "-D", data, "-U", "cea", "-A", "scram-sha-256", "--pwfile", folder / "password"]
        subprocess.run([*map(str, made), "-N", "-E", "UTF8"], check=True, capture_output=True, **as_user)
        command = [str(programs / "postgres"), "-D", str(data), "-h", HOST, "-p", str(port), "-k", ""]
        login = {"host": HOST, "port": port, "user": "cea", "password": password}
        log = folder / "postgresql.log"
        with running(command, log, lambda: psycopg2.connect(**login, dbname="postgres").close(), **as_user):
            connection = psycopg2.connect(**login, dbname="postgres")
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("CREATE DATABASE cea")
            connection.close()
            yield f"postgresql://cea:{password}@{HOST}:{port}/cea"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(address: str) -> None:
    urllib.request.urlopen(address, timeout=5).close()


def _wait(process: subprocess.Popen[bytes], log: Path, ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            ready()
            return
        except Exception as error:
            if process.poll() is not None or time.monotonic() > deadline:
                text = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{process.args}: {error}\n{text}") from error
            time.sleep(0.2)
