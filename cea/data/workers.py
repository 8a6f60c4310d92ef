"""Processes of this machine that are given so many jobs ahead and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from joblib import Parallel, delayed

from cea.io.sequences import in_parts

Job = TypeVar("Job")
Result = TypeVar("Result")

_AHEAD = 16
"""Jobs of each worker that may wait for what is done with their results."""


def results(work: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """``work`` of all jobs, in their order, by ``workers`` processes; with one, in this process.

    Of the jobs, `_AHEAD` for each worker are asked for at a time: joblib works on while its results wait.
    """
    with Parallel(n_jobs=workers, return_as="generator", batch_size=1) as pool:
        for some in in_parts(jobs, _AHEAD * workers):
            yield from pool(delayed(work)(job) for job in some)
