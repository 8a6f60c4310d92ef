"""The per-image table: a restorer over held-out images, judged under one protocol."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import polars as pl

from cea.errors import DataError, ImageError, InputError
from cea.evaluation.cases import Case
from cea.evaluation.columns import BINS, IMAGES
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.journal import Journal
from cea.evaluation.judge import JudgeJob, Row, judge, load_job, with_sample_name
from cea.metrics.perceptual import Absent, Lpips, load_lpips
from cea.metrics.protocol import find_protocol
from cea.progress import followed
from cea.types import Image, ImageF, ImageU8

Restore = Callable[[ImageU8], ImageF]
"""(H, W, 3) uint8 -> the same shape, float in [0, 1]: ``functools.partial(cea.inference.restore, model)``."""

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Evaluation:
    """The two tables of an evaluation: ``images`` (`IMAGES`) and ``bins`` (`BINS`).

    Attributes:
        images: a row per judged image.
        bins: a row per judged image and bin of local severity.
        skipped: scores left out, and why.
        left_out: ids of images that could not be judged, and why.
    """

    images: pl.DataFrame
    bins: pl.DataFrame
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, InputError] = field(default_factory=dict)


def evaluate(
    cases: Sequence[Case],
    restore: Restore | None,
    config: EvaluationConfig,
    journal: Journal | None = None,
    *,
    progress: str = "",
    leave_out: bool = False,
) -> Evaluation:
    """Restore and judge every case; memory is that of a few images, however many there are.

    ``restore`` runs in the calling thread (a network brings its own threads), decoding and scoring in
    ``config.workers`` others. Rows come in the order of ``cases``.

    Args:
        cases: what to judge; ids are unique.
        restore: the method; not called for cases that bring their output, None where all do.
        config: protocol and threads.
        journal: keeps each row as soon as it is there; images that it knows already are not judged again.
        progress: what the images are called where progress is shown (`cea.progress`); nothing is shown without a name.
        leave_out: whether images that cannot be read, restored or judged are left out of the tables and named.

    Raises:
        DataError: no cases, one id twice, none that can be judged; or, naming the sample, an image that cannot be read,
            restored or judged, unless these are left out.
    """
    _check_ids(cases)
    lpips = load_lpips() if config.lpips else None
    found = {case.sample_id: journal.find(case.sample_id, case.fingerprint) for case in cases} if journal else {}
    known = {sample_id: row for sample_id, row in found.items() if row is not None}
    todo = [case for case in cases if case.sample_id not in known]
    judged = _judged(todo, restore, config, None if isinstance(lpips, Absent) else lpips)
    left_out: dict[str, InputError] = {}
    for case, row in zip(todo, followed(judged, progress, len(todo)), strict=True):
        if isinstance(row, _Failure):
            if not leave_out:
                raise row
            left_out[case.sample_id] = row
            continue
        known[case.sample_id] = row
        if journal:
            journal.add(row, case.fingerprint)
    rows = [known[case.sample_id] for case in cases if case.sample_id in known]
    images = pl.DataFrame([row.image for row in rows], schema=IMAGES)
    bins = pl.DataFrame([cell for row in rows for cell in row.bins], schema=BINS)
    return Evaluation(images, bins, {"LPIPS": lpips.reason} if isinstance(lpips, Absent) else {}, left_out)


def _judged(
    cases: Sequence[Case], restore: Restore | None, config: EvaluationConfig, lpips: Lpips | None
) -> Iterator[Row | _Failure]:
    """A row for every case, in their order, or the error that names it."""
    protocol = find_protocol(config.protocol)
    ahead = 2 * config.workers
    with ThreadPoolExecutor(config.workers) as pool:
        read = _in_order(pool, lambda case: _attempt(load_job, protocol, case), cases, ahead)
        restored = ((job, _attempt(_restore, restore, job)) for job in read)
        yield from _in_order(pool, lambda pair: _attempt(judge, *pair, protocol, config, lpips), restored, ahead)


_Failure = ImageError | DataError
"""What is wrong with one image; a wrong parameter (`ConfigError`) is wrong for all of them, and is raised at once."""


def _attempt(work: Callable[..., U], *arguments: Any) -> U | _Failure:
    """What ``work`` gives, or its error; an error among its arguments passes by as it is."""
    failed = next((argument for argument in arguments if isinstance(argument, _Failure)), None)
    if failed is not None:
        return failed
    try:
        return work(*arguments)
    except (ImageError, DataError) as error:
        return error


def _check_ids(cases: Sequence[Case]) -> None:
    if not cases:
        raise DataError("nothing to evaluate", expected="at least one test image", remedy="check the test split")
    twice = [sample_id for sample_id, count in Counter(case.sample_id for case in cases).items() if count > 1]
    if twice:
        raise DataError(
            f"two test images are called {twice[0]!r}",
            expected="one id for each",
            remedy="evaluate the sets one by one",
        )


def _in_order(pool: ThreadPoolExecutor, work: Callable[[T], U], items: Iterable[T], ahead: int) -> Iterator[U]:
    """Like ``pool.map``, but takes no more than ``ahead`` items before their results are wanted."""
    waiting: deque[Future[U]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _restore(restore: Restore | None, job: JudgeJob) -> Image | ImageF:
    if job.output is not None:
        return job.output
    assert restore is not None
    try:
        return restore(job.pixels.degraded)
    except ImageError as error:
        raise with_sample_name(job.case, error) from error
