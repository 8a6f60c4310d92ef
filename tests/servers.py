"""Real servers for tests, on the loopback interface alone: S3, PostgreSQL, MLflow, Slurm. Each ends with its block."""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
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


_SLURM = """
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SlurmdParameters=config_overrides
KillWait=5
PartitionName=all Nodes=ALL Default=YES State=UP
"""


@contextmanager
def slurm(nodes: Sequence[str]) -> Iterator[dict[str, str]]:
    """A Slurm of its own: ``nodes`` of two processors each, all on this machine; yields its commands' environment.

    The first node's name should resolve to this machine. Skips the test where Slurm or munge is not installed.
    """
    paths = os.pathsep.join((os.environ["PATH"], "/usr/sbin"))
    found = {name: shutil.which(name, path=paths) for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun")}
    missing = ", ".join(name for name, place in found.items() if place is None)
    if missing:
        pytest.skip(f"no {missing} (Debian: apt-get install slurmctld slurmd slurm-client munge)")
    programs = {name: str(place) for name, place in found.items()}
    folder = Path(mkdtemp(prefix="cea-slurm-"))
    folder.chmod(0o755)  # munge demands that everybody may reach its socket
    host = socket.gethostname().split(".")[0]
    lines = [_SLURM.format(host=host, port=free_port(), user=getpass.getuser(), folder=folder)]
    lines += [f"NodeName={name} NodeAddr={HOST} Port={free_port()} CPUs=2\n" for name in nodes]
    (folder / "slurm.conf").write_text("".join(lines))
    (folder / "state").mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SRUN"))}
    environment = {**kept, "SLURM_CONF": str(folder / "slurm.conf")}

    def answers(*command: str) -> str:
        made = subprocess.run(command, env=environment, timeout=60, check=True, capture_output=True, text=True)
        return made.stdout

    def idle(name: str) -> None:
        assert "idle" in answers("sinfo", "-h", "-n", name, "-o", "%T"), f"{name} is not there"

    files = {name: str(folder / f"munge.{name}") for name in ("key", "socket", "pid", "log", "seed")}
    munged = [programs["munged"], "--foreground", "--key-file", files["key"], "--socket", files["socket"]]
    munged += ["--pid-file", files["pid"], "--log-file", files["log"], "--seed-file", files["seed"]]
    try:
        with ExitStack() as stack:
            for name, command, ready in (
                ("munged", munged, lambda: answers("munge", "-n", "-S", files["socket"])),
                ("slurmctld", [programs["slurmctld"], "-D"], lambda: answers("scontrol", "ping")),
                *((each, [programs["slurmd"], "-D", "-N", each], lambda each=each: idle(each)) for each in nodes),
            ):
                stack.enter_context(running(command, folder / f"{name}.out", ready, env=environment))
            yield environment
    finally:
        _end_all_with(f"SLURM_CONF={folder}/slurm.conf")
        shutil.rmtree(folder, ignore_errors=True)


def _end_all_with(variable: str) -> None:
    """Kill every process that has ``variable`` in its environment: Slurm's steps leave the groups of its daemons."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if variable.encode() in (place / "environ").read_bytes().split(b"\0"):
                os.kill(int(place.name), signal.SIGKILL)


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
