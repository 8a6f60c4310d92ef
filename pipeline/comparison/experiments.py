"""Many DVC experiments of one commit: run those that are missing, several at a time, and read what each left.

Each runs as ``dvc exp run --temp`` in a process of its own, not through ``dvc exp run --queue``: after a killed worker
DVC's queue (3.67) shows the task as running for ever, no new worker takes it up, its processes go on unseen, and
``dvc queue kill`` then calls it a success. Here an experiment counts as finished when DVC has committed it, whatever
happened to the processes, so a killed grid is simply started again. What was being trained goes on from its last
validation.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from ruamel.yaml import YAML

from cea.errors import DataError, InputError

FOLDER = Path(".dvc/tmp/compare")
"""Logs of the runs, and the lock; under .dvc/tmp, which git ignores."""

_LOCKED = "Unable to acquire lock"
_LOCK_PATIENCE_S, _LOCK_PAUSE_S = 1800.0, 1.0


@dataclass(frozen=True)
class Experiment:
    """One run to have.

    Attributes:
        name: of the experiment, unique for a commit.
        changes: dotted key of params.yaml -> value; a number, a word, a flag or None.
        carried: files and folders of the working tree that git does not have and a stage needs.
    """

    name: str
    changes: Mapping[str, Any]
    carried: tuple[str, ...] = ()

    def params(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """``base`` with the changes made."""
        values = deepcopy(dict(base))
        for key, value in self.changes.items():
            *path, last = key.split(".")
            place = values
            for part in path:
                place = place.setdefault(part, {})
            place[last] = value
        return values

    def command(self) -> list[str]:
        """What runs it: ``++`` sets a key whether or not params.yaml spells it out."""
        changes = [word for key, value in self.changes.items() for word in ("-S", f"++{key}={_spelled(value)}")]
        carried = [word for path in self.carried for word in ("--copy-paths", path)]
        return [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", self.name, *carried, *changes]


def git(*arguments: str) -> bytes:
    """The output of a git command; DataError with git's words where it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise DataError(
            f"git {arguments[0]}: {' '.join(reason)}",
            expected="a git command that succeeds",
            remedy="correct what git reports",
        )
    return done.stdout


def untracked(paths: Sequence[str]) -> tuple[str, ...]:
    """What lies under these paths of the working tree and not in git, as few folders as possible.

    A run in a folder of its own has what git has; DVC would find its photographs gone and make the data again.

    Raises:
        DataError: a path that leads out of the working tree and is not absolute.
    """
    inside = [path for path in paths if not Path(path).is_absolute()]
    for path in inside:
        if os.path.normpath(path).startswith(os.pardir):
            raise DataError(
                f"{path} lies outside the project",
                expected="a folder in it, or an absolute path: a run has a copy of the project elsewhere",
                remedy="give its absolute path in params.yaml",
            )
    listed = git("ls-files", "--others", "--directory", "-z", "--", *inside).decode() if inside else ""
    return tuple(path.rstrip("/") for path in listed.split("\0") if path)


def require_clean(*apart: Path) -> None:
    """Every run has to be of the same code: raise a DataError where tracked files differ from the last commit."""
    changed = (
        git("status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{path}" for path in apart))
        .decode()
        .splitlines()
    )
    if changed:
        raise DataError(
            f"uncommitted changes: {', '.join(line[3:] for line in changed[:3])}",
            expected="a comparison of one commit",
            remedy="commit them first",
        )


def finished(wanted: Sequence[Experiment], base: Mapping[str, Any]) -> dict[str, str]:
    """Name -> commit of the experiments among ``wanted`` that DVC has finished for the current commit.

    Raises:
        DataError: one of these names was given to a run with other parameters.
    """
    head = git("rev-parse", "HEAD").decode().strip()
    listed = git("for-each-ref", "--format=%(objectname) %(refname)", f"refs/exps/{head[:2]}/{head[2:]}").decode()
    commits = {line.rpartition("/")[2]: line.split()[0] for line in listed.splitlines()}
    done = {one.name: commits[one.name] for one in wanted if one.name in commits}
    for one in wanted:
        if one.name in done and parse_yaml(read(done[one.name], "params.yaml")) != one.params(base):
            raise DataError(
                f"experiment {one.name} exists with other parameters",
                expected="a name for each setting",
                remedy=f"choose another --name, or: dvc exp remove {one.name}",
            )
    return done


def read(commit: str, path: str) -> bytes:
    """A file of the project that an experiment committed to git; the project may lie in a folder of its repository."""
    return git("show", f"{commit}:./{path}")


def read_output(commit: str, path: str) -> bytes:
    """A file of the project, in a folder of its repository or at the top, that an experiment left in DVC's cache."""
    import dvc.api
    from dvc.exceptions import DvcException

    below = git("rev-parse", "--show-prefix").decode().strip("\n")  # of a commit, DVC names files from its top
    try:
        return bytes(dvc.api.read(below + path, rev=commit, mode="rb"))
    except (DvcException, OSError) as error:
        raise DataError(
            f"{path} of {commit[:8]}: {error}",
            expected="a file in DVC's cache",
            remedy="run dvc pull; or dvc exp remove NAME, and run the experiment again",
        ) from None


def parse_yaml(text: str | bytes) -> Any:
    """YAML 1.2, as DVC writes it."""
    return YAML(typ="safe", pure=True).load(text)


def run_all(
    missing: Sequence[Experiment], jobs: int, environment: Mapping[str, str], done: Callable[[str], None], kept: Path
) -> list[str]:
    """Run each, ``jobs`` at a time, and call ``done`` with the name of each that DVC finished.

    A run that fails does not stop the others. An interrupt ends them all. What each has trained stays in ``kept``
    until it is finished (see `states`).

    Returns:
        Names of those that failed.
    """
    failed: list[str] = []
    with only_one() as lock, ThreadPoolExecutor(jobs) as pool:
        crew = _ProcessGroup(_clean_environment() | dict(environment), lock, kept)
        try:
            waiting = {pool.submit(crew.run, one): one.name for one in missing}
            for future in as_completed(waiting):
                name = waiting[future]
                if future.result() == 0:
                    done(name)
                else:
                    failed.append(name)
                    logging.info("%s failed; the end of %s:\n%s", name, log_of(name), _end_of(log_of(name)))
        except BaseException:
            crew.end()
            raise
    return failed


@contextmanager
def only_one() -> Iterator[int]:
    """Hold a lock that the runs inherit: a comparison that was killed leaves it to those that still work.

    Raises:
        InputError: another comparison is running.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                "runs of a comparison are still at work here",
                expected="one comparison at a time",
                remedy="wait for them, or end the processes 'dvc exp run --temp'",
            ) from None
        yield file.fileno()


def log_of(name: str) -> Path:
    """Where the output of an experiment goes."""
    return FOLDER / f"{name}.log"


def states() -> Path:
    """Where the trainings of the current commit keep what they resume from after a kill, a folder each.

    DVC gives each run a working tree of its own, which is gone with it.
    """
    return FOLDER / "state" / git("rev-parse", "HEAD").decode().strip()[:12]


class _ProcessGroup:
    """The processes at work; after ``end`` none starts any more.

    Args:
        environment: of each.
        lock: a file descriptor that each inherits.
        states: holds a folder for each, which survives it.
    """

    def __init__(self, environment: Mapping[str, str], lock: int, states: Path) -> None:
        self._environment = environment
        self._states = states
        self._lock = lock
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False
        self._turn = Lock()

    def run(self, one: Experiment) -> int:
        """Run it to its end, its output in its log; the exit status.

        DVC prepares one experiment at a time and gives up on its lock after some seconds; then it is asked again.
        """
        give_up = time.monotonic() + _LOCK_PATIENCE_S
        while (status := self._run_once(one)) and _LOCKED in _end_of(log_of(one.name)) and time.monotonic() < give_up:
            time.sleep(_LOCK_PAUSE_S)
        return status

    def _run_once(self, one: Experiment) -> int:
        with self._turn:
            if self._ended:
                return 1
            process = self._start(one)
            self._running.add(process)
        status = process.wait()
        with self._turn:
            self._running.discard(process)
        return status

    def _start(self, one: Experiment) -> subprocess.Popen[bytes]:
        with log_of(one.name).open("wb") as log:
            return subprocess.Popen(
                one.command(),
                env=dict(self._environment) | {"CEA_TRAIN_STATE": str((self._states / one.name).resolve())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(self._lock,),
            )

    def end(self, patience_s: float = 20) -> None:
        """Interrupt each with all it started, so that DVC can tidy up; kill what does not listen."""
        with self._turn:
            self._ended, running = True, list(self._running)
        for process in running:
            _signal(process, signal.SIGINT)
        for process in running:
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)


def _clean_environment() -> dict[str, str]:
    """Ours, with this Python's programs in front (stages say ``python``) and nothing that an outer DVC run set."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _end_of(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _spelled(value: object) -> str:
    """A value in the grammar of ``-S``."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_spelled, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
