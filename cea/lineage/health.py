"""What can be wrong with a project's surroundings: versions, locks, the MLflow store, disk, GPU, environment."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cea.config import read_params
from cea.errors import InputError
from cea.extras import installing
from cea.io.images import write_bytes
from cea.lineage.cache import cache_folder, folder_size
from cea.lineage.facts import git
from cea.lineage.project import open_project
from cea.lineage.record import locked
from cea.lineage.runs import close_dead_runs, experiment_name, send_waiting
from cea.lineage.spool import Spool
from cea.lineage.store import one_line, open_store, own_database
from cea.lineage.tracking import open_runs, run_is_dead

LEAST_FREE_GB = 5
"""A default run with its environment needs less."""

CHANGING = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "OPENBLAS_CORETYPE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENCV_CPU_DISABLE",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
    "PYTHONPATH",
    "CUDA_VISIBLE_DEVICES",
    "CEA_WORKERS",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "DVC_ROOT",
    "DVC_EXP_NAME",
)
"""Environment variables that change numbers, speed, or where records go."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: ``versions``, ``git``, ``dvc``, ``mlflow``, ``disk``, ``memory``, ``gpu``, ``loops``, ``environment``.
        text: what was found.
        bad: whether something must be done.
        remedy: what to do; '' where there is nothing.
        fix: does the remedy, where that can lose nothing.
    """

    subject: str
    text: str
    bad: bool = False
    remedy: str = ""
    fix: Callable[[], object] | None = None


def examine(root: Path) -> Iterator[Finding]:
    """Everything that is looked at, in the order in which it should be mended."""
    yield from versions(root)
    yield from repository(root)
    yield from lock_files(root)
    yield from store(root)
    yield from disk(root)
    yield from shared_memory(root)
    yield gpu()
    yield loops()
    yield from environment()


def versions(root: Path) -> Iterator[Finding]:
    """Installed packages against requirements.lock, and whether the environment's commands start."""
    path = root / "requirements.lock"
    if not path.is_file():
        yield Finding("versions", "no requirements.lock here", True, "run this in the project's folder")
        return
    wanted_versions = locked(path.read_text(encoding="utf-8"))
    missing, other = [], []
    for name, wanted in wanted_versions.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        if installed.split("+")[0] != wanted:
            other.append(f"{name} {installed} for {wanted}")
    for what, names in (("differ from requirements.lock", other), ("of requirements.lock are missing", missing)):
        if names:
            remedy = "rm .venv/.ready && make setup"
            yield Finding("versions", f"{len(names)} packages {what}: {_few(names)}", True, remedy)
    if not missing and not other:
        yield Finding("versions", f"{len(wanted_versions)} packages as in requirements.lock")
    yield from _commands()


def _commands() -> Iterator[Finding]:
    script = Path(sys.prefix, "bin", "dvc")
    first = script.read_bytes().split(b"\n", 1)[0].decode(errors="replace") if script.is_file() else ""
    interpreter = Path(first.removeprefix("#!").strip())
    if first.startswith("#!/") and " " not in first and not interpreter.exists():
        text = f"{script} starts with {interpreter}, which is not there: the environment was moved"
        yield Finding("versions", text, True, "rm -r .venv && make setup")
    on_path = shutil.which("dvc")
    if on_path is None or Path(on_path).resolve().parent != script.resolve().parent:
        text = f"dvc on the PATH is {on_path or 'none'}: queued experiments would stay queued or run elsewhere"
        yield Finding("versions", text, script.is_file(), f"export PATH={script.parent}:$PATH, or use make")


def repository(root: Path) -> Iterator[Finding]:
    """Whether git knows the code: without it a run's record says ``unknown`` and is not made again."""
    commit = git("rev-parse", "--short=10", "HEAD", folder=root)
    if commit is None:
        text = "git knows no commit of this folder (none there, another owner's, or git is missing)"
        remedy = "git init && git add -A && git commit -m start; git config --global --add safe.directory FOLDER"
        yield Finding("git", f"{text}: runs made here cannot be made again", True, remedy)
    else:
        shallow = git("rev-parse", "--is-shallow-repository", folder=root) == b"true\n"
        remedy = "git fetch --unshallow, to make runs of earlier commits again" if shallow else ""
        yield Finding("git", f"commit {commit.decode().strip()}{', a shallow clone' * shallow}", False, remedy)


def lock_files(root: Path) -> Iterator[Finding]:
    """dvc.lock as DVC writes it, and no lock that a killed DVC left."""
    if (root / "dvc.lock").is_file():
        try:
            stages = open_project(root).stages
            whole_lines = (root / "dvc.lock").read_bytes().endswith(b"\n")  # YAML that is cut may still be YAML
        except InputError:
            whole_lines = False
        if whole_lines:
            yield Finding("dvc", f"dvc.lock: {len(stages)} stages")
        else:
            whole = git("show", "HEAD:./dvc.lock", folder=root)
            fix = None if whole is None else lambda: _replace_lock(root, whole)
            yield Finding("dvc", "dvc.lock is cut short or not DVC's", True, "git checkout dvc.lock; dvc repro", fix)
    else:
        yield Finding("dvc", "no dvc.lock: the pipeline has not run here", False, "dvc repro")
    lock = root / ".dvc" / "tmp" / "rwlock"
    try:
        holders = _holders(json.loads(lock.read_bytes() or b"{}")) if lock.is_file() else set()
    except (ValueError, AttributeError, TypeError):
        yield Finding("dvc", f"{lock} is damaged", True, "remove it while no dvc runs", lock.unlink)
        return
    alive = sorted(pid for pid in holders if Path("/proc", str(pid)).exists())
    if alive:
        yield Finding("dvc", f"running now: process {_few(list(map(str, alive)))}")
    trainer = _trainer(root / "data" / "state.lock")
    if trainer and not alive:
        text = f"process {trainer} trains here and its dvc is gone: it may still write into data/model"
        yield Finding("dvc", text, True, f"wait until it has ended, or kill {trainer}")


def _trainer(lock: Path) -> str:
    """The process that holds the lock of the training; '' where none does."""
    try:
        with lock.open("r+", encoding="utf-8") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return file.read().strip()
    except OSError:
        return ""
    return ""


def _holders(lock: dict[str, dict[str, Any]]) -> set[int]:
    holders = set()
    for entry in lock.values():
        for holder in entry.values():
            holders |= {int(one["pid"]) for one in (holder if isinstance(holder, list) else [holder]) if one}
    return holders


def _replace_lock(root: Path, whole: bytes | None) -> None:
    path = root / "dvc.lock"
    path.replace(path.with_name("dvc.lock.broken"))
    write_bytes(path, whole or b"")


def store(root: Path) -> Iterator[Finding]:
    """The MLflow store: whether it answers, runs that were left open, records that wait."""
    waiting = Spool().runs()
    database = own_database()
    if database is not None and not database.is_file():
        yield Finding("mlflow", "no runs yet", False)
    elif find_spec("mlflow") is None:
        yield Finding("mlflow", "MLflow is not installed: the store was not looked at", False, installing("pipeline"))
    else:
        try:
            client, experiment = open_store(experiment_name(), create=False)
            with one_line():
                opened = open_runs(client, experiment)
                gone = client.search_runs([experiment], run_view_type=2)
        except InputError as error:
            yield Finding("mlflow", error.what, True, error.remedy)
        else:
            dead = [run.info.run_name for run in opened if run_is_dead(run)]
            yield Finding("mlflow", f"the store answers; {len(opened) - len(dead)} runs in progress")
            if dead:
                text = f"{len(dead)} runs were left open by processes that are gone: {_few(dead)}"
                yield Finding("mlflow", text, True, "cea doctor --fix marks them KILLED", close_dead_runs)
            if gone:
                text = f"{len(gone)} deleted runs still hold their artifacts"
                yield Finding("mlflow", text, False, "cea runs --delete, or mlflow gc")
    if waiting:
        remedy = "cea runs --sync, under the MLFLOW_TRACKING_URI that they began with"
        yield Finding("mlflow", f"{len(waiting)} runs wait to be sent", True, remedy, send_waiting)


def disk(root: Path) -> Iterator[Finding]:
    """Free space, and what grows with the command that trims it."""
    free = shutil.disk_usage(root).free / 1e9
    yield Finding("disk", f"{free:.0f} GB free", free < LEAST_FREE_GB, "trim what follows" * (free < LEAST_FREE_GB))
    growing = (
        (cache_folder(root), "dvc gc --workspace --all-commits --all-experiments"),
        (root / "mlartifacts", "cea runs --delete RUN"),
        (root / ".mlflow-spool", "cea runs --sync"),
        (root / "data" / "state", "goes when the training has ended"),
        (root / ".dvc" / "tmp" / "exps", "dvc queue remove --all; dvc exp clean"),
        (root / "comparison", "rm -r comparison"),
    )
    for path, remedy in growing:
        if path.is_dir():
            yield Finding("disk", f"{path.relative_to(root)}: {folder_size(path) / 1e9:.2f} GB", False, remedy)


def shared_memory(root: Path, place: Path = Path("/dev/shm")) -> Iterator[Finding]:
    """Room for the batches that decoding processes hand to the training; a container often has 64 MB."""
    if not (place.is_dir() and (root / "params.yaml").is_file()):
        return
    train = read_params(root / "params.yaml").get("train", {})
    patches, side, workers = (train.get(name, 0) for name in ("batch", "patch", "workers"))
    if not workers:
        return
    most = max([patches * side**2, *(one**2 for _, one in train.get("patches") or ())])  # of a batch
    need = (2 * workers + 2) * most * 6  # each process is two batches ahead; degraded and clean
    free = shutil.disk_usage(place).free
    text = f"{place}: {free / 2**20:.0f} MiB free, train.workers: {workers} needs some {max(1, need >> 20)} MiB"
    remedy = "train.workers: 0, or a larger one: docker run --shm-size=1g, mount -o remount,size=1g /dev/shm"
    yield Finding("memory", text, free < need, remedy * (free < need))


def gpu() -> Finding:
    """What PyTorch trains on."""
    try:
        import torch
    except ImportError:
        return Finding("gpu", "PyTorch is not installed", True, "make setup")
    if torch.cuda.is_available():
        return Finding("gpu", f"{torch.cuda.get_device_name(0)}, PyTorch {torch.__version__}")
    if Path("/proc/driver/nvidia/version").exists():
        text = f"an NVIDIA driver is here, but PyTorch {torch.__version__} sees no GPU"
        return Finding("gpu", text, True, "make setup TORCH=system, with a PyTorch for CUDA (docs/gpu.md)")
    return Finding("gpu", "none: training runs on the processor")


def loops() -> Finding:
    """Whether degradations are drawn by the compiled loops; without them the same pixels take longer."""
    from cea.degradations.exact.compiled import LIBRARY, SOURCE

    if LIBRARY is not None:
        return Finding("loops", f"compiled loops in use: {Path(LIBRARY._name).name}")
    if os.environ.get("CEA_COMPILED") == "0":
        return Finding("loops", "compiled loops are off: CEA_COMPILED=0", False, "unset CEA_COMPILED for more speed")
    others = any(path.suffix != SOURCE.suffix for path in SOURCE.parent.glob(f"{SOURCE.stem}.*"))
    found = "the compiled loops are of another source or machine" if others else "no compiled loops"
    remedy = (
        "for speed: in a clone, with a C compiler (apt install gcc libc6-dev), pip install --no-deps -e .; "
        "elsewhere a wheel of this platform"
    )
    return Finding("loops", f"{found}: the same pixels take longer", False, remedy)


def environment() -> Iterator[Finding]:
    """Variables that change numbers, speed or where records go."""
    stray = [f"{name}={os.environ[name]}" for name in CHANGING if name in os.environ]
    if stray:
        names = " ".join(entry.split("=")[0] for entry in stray)
        text = "set, and they change numbers, speed or where records go: " + ", ".join(map(_hidden, stray))
        yield Finding("environment", text, False, f"unset {names} unless you mean it")
    else:
        yield Finding("environment", "nothing set that changes results")


def _hidden(entry: str) -> str:
    """An address may hold a password."""
    name, _, value = entry.partition("=")
    return f"{name}=..." if "@" in value else entry


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
