"""Tasks on a Ray cluster: a bounded number at a time, retried a bounded number of times, and named where none helps.

Ray schedules, scales and moves; what is here decides how many tasks it holds at once, and what a dead worker means.
`ray` (extra ``ray``) is imported where a cluster is used, and nowhere else.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import Field

from cea.config import Config, parse
from cea.errors import ConfigError, DataError, brief
from cea.extras import require
from cea.io.folders import is_unwritable
from cea.registry import PLUGINS

_PACKAGE = Path(__file__).resolve().parents[1]

_STORE_BYTES = 256 << 20
"""Ray's object store on a cluster that is started here: arguments and results are small, pixels never enter it."""

_SECONDS_BETWEEN_COUNTS = 1.0
"""Of the cluster's processors, which come and go."""


class RayConfig(Config):
    """How tasks run on a cluster. Nothing here changes a byte of what they make."""

    address: str | None = Field(default=None, min_length=1)
    """``auto``, ``HOST:6379`` or ``ray://HOST:10001`` of a running cluster; null: RAY_ADDRESS, else this machine."""

    num_cpus: float = Field(default=1.0, gt=0, le=1024)
    """Processors that one task takes; Ray's autoscaler adds nodes for tasks that wait for them."""

    in_flight: int | None = Field(default=None, ge=1, le=100_000)
    """Tasks that Ray holds at a time; null: twice as many as the cluster runs at once."""

    retries: int = Field(default=3, ge=0, le=100)
    """How often a task is tried again whose worker died or whose node was lost."""


Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Died:
    """Every try at a job ended its worker.

    Attributes:
        tries: how many there were.
        cause: what Ray says of the last one, on one line.
    """

    tries: int
    cause: str


@dataclass(frozen=True)
class _Try(Generic[Job]):
    job: Job
    number: int


@contextmanager
def connected(config: RayConfig, *, what: str, workers: int) -> Iterator[None]:
    """A cluster for the length of the block; one that the caller is connected to already is used and left alone.

    Args:
        config: the address.
        what: the key of params.yaml that asks for it, for messages.
        workers: processors of a cluster that is started here, where no address is given.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers there.
    """
    require("ray", what)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what it will do by default; asking warns
    import ray

    if ray.is_initialized():
        yield
        return
    address = config.address or os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {"num_cpus": workers, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    try:
        ray.init(
            address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else own)
        )
    except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError and others of its own
        raise ConfigError(
            f"{what}: no cluster at {address or 'this machine'} ({brief(error)})",
            expected="the address of a running Ray cluster of this version of Ray and Python, or null",
            remedy="start one with 'ray start --head', or correct ray.address",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def tasks(
    work: Callable[[Job], Result],
    jobs: Iterable[Job],
    config: RayConfig,
    *,
    retried: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[Job, Result | Died]]:
    """Run ``work`` on every job, in any order; yields each job with what came of it as soon as it is there.

    ``jobs`` is read no further than Ray may hold tasks, and not at all while the caller is busy with a result.

    Args:
        work: a function of a module that every node can import. What it does may happen several times.
        jobs: small and picklable: paths, not pixels.
        config: bounds.
        retried: told why, whenever a job is tried again.

    Raises:
        Exception: what ``work`` raises, at once. Only after an `OSError` that speaks of no full or forbidden disk, such
            as a store that does not answer, the job is tried again like one whose worker died.
    """
    import ray

    remote = ray.remote(num_cpus=config.num_cpus, max_retries=0)(work)  # Ray's own retries have no end after OOM
    new, again = (_Try(job, 1) for job in jobs), deque[_Try[Job]]()
    flying: dict[Any, _Try[Job]] = {}
    most = _Most(config)
    try:
        while True:
            while len(flying) < most():
                attempt = again.popleft() if again else next(new, None)
                if attempt is None:
                    break
                flying[remote.remote(attempt.job)] = attempt
            if not flying:
                return
            for reference in ray.wait(list(flying), num_returns=1, timeout=_SECONDS_BETWEEN_COUNTS)[0]:
                attempt = flying.pop(reference)
                result, fault = _outcome(reference)
                if fault is None:
                    yield attempt.job, result
                elif attempt.number <= config.retries:
                    retried(brief(fault))
                    again.append(_Try(attempt.job, attempt.number + 1))
                elif isinstance(fault, OSError):
                    raise fault
                else:
                    yield attempt.job, Died(attempt.number, brief(fault))
    finally:
        with suppress(Exception):  # whatever ended this is what should be told, not a cluster that is gone as well
            for reference in flying:
                ray.cancel(reference, force=True)


def at_home(home: Path, code: str) -> None:
    """For a worker, before it does anything: in the project's folder, where plug-ins are found, with the driver's code.

    Args:
        home: the driver's current folder; where this node has none of that name, there are no plug-ins.
        code: the driver's `code_digest`.

    Raises:
        DataError: this node has other code.
    """
    if home.is_dir():
        os.chdir(home)
        if str(home) not in sys.path:
            sys.path.insert(0, str(home))
    if code_digest(home) != code:
        raise DataError(
            f"node {platform.node()} runs other code of cea, or other plug-ins, from {_PACKAGE}",
            expected="the same code on every node: it decides every pixel",
            remedy="install the driver's commit there, and start the node again",
        )


@cache
def code_digest(home: Path) -> str:
    """32 hex digits over the source of this package and of the plug-ins below ``home``: equal where the code is."""
    sources = (path for kind in ("*.py", "*.c", "*.h") for path in _PACKAGE.rglob(kind))
    files = [(path.relative_to(_PACKAGE.parent), path) for path in sources]
    files += [(path.relative_to(home), path) for path in (home / PLUGINS).glob("*.py")]
    digest = hashlib.sha256()
    for name, path in sorted(files):
        digest.update(f"{name.as_posix()} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def cluster_of(params: Mapping[str, Any]) -> RayConfig | None:
    """The cluster that params.yaml asks for in its section ``shard``; None for this machine's processes.

    Raises:
        ConfigError: a wrong value there.
    """
    shard = params.get("shard") or {}
    return parse(RayConfig, shard.get("ray"), "shard.ray") if shard.get("engine") == "ray" else None


class _Most:
    """How many tasks Ray may hold: as configured, or by the size that the cluster has now."""

    def __init__(self, config: RayConfig) -> None:
        self._config = config
        self._known, self._counted, self._warned = 0, float("-inf"), False

    def __call__(self) -> int:
        if time.monotonic() - self._counted >= _SECONDS_BETWEEN_COUNTS:
            self._count()
        return self._config.in_flight or self._known

    def _count(self) -> None:
        import ray

        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        each = [node["Resources"].get("CPU", 0) for node in nodes if node["Alive"]]
        self._known = max(2, 2 * sum(int(cpus / self._config.num_cpus) for cpus in each))
        self._counted = time.monotonic()
        if max(each, default=0) < self._config.num_cpus and not self._warned:
            self._warned = True
            logging.warning(
                "no node has the %g processors that a task takes (shard.ray.num_cpus); waiting for one",
                self._config.num_cpus,
            )


def _outcome(reference: Any) -> tuple[Any, Exception | None]:
    """A task's result, or why it has to be tried again; raises what will be the same the next time.

    Raises:
        DataError: the cluster has no room for a task, or its nodes lack cea.
    """
    import ray
    from ray import exceptions

    try:
        return ray.get(reference), None
    except exceptions.RayTaskError as error:
        return None, _of_work(error.cause if isinstance(error.cause, Exception) else error)
    except (exceptions.RuntimeEnvSetupError, exceptions.TaskUnschedulableError, exceptions.OutOfDiskError) as error:
        raise DataError(
            f"Ray cannot run a task: {brief(error)}",
            expected="a cluster with room for one",
            remedy="look at the cluster (ray status)",
        ) from error
    except exceptions.RayError as error:  # a worker or a node is gone, or was out of memory, or lost what it had made
        return None, error


def _of_work(cause: Exception) -> OSError:
    """What a task raised: returned if it may pass, raised if it will not."""
    if isinstance(cause, OSError) and not is_unwritable(cause):
        return cause
    if isinstance(cause, ImportError) or "failed to import" in str(cause):
        raise DataError(
            f"a node of the cluster cannot import cea: {brief(cause)}",
            expected="the same installation on every node",
            remedy="install it there, or start the nodes from its environment",
        ) from cause
    raise cause


@contextmanager
def of_store() -> Iterator[None]:
    """A store that does not answer (an `OSError` without a number) as an error that says what to do.

    Raises:
        DataError: naming it.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataError(
            brief(error), expected="a store that answers", remedy="check its address, keys and network, and run again"
        ) from error
