"""Many photographs one after the other: which one this is, and how long the others still take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cea.io.outputs import PictureJob, Plan


class Pace:
    """How many photographs are done, and how long the others may take."""

    def __init__(self, plan: Plan) -> None:
        self._jobs, self._start, self._done = plan.jobs, time.monotonic(), 0

    def label(self, job: PictureJob) -> str:
        """Its number and name; the name alone where there is one photograph."""
        return (
            f"[{self._jobs.index(job) + 1}/{len(self._jobs)}] {job.source}" if len(self._jobs) > 1 else str(job.source)
        )

    def done(self, job: PictureJob) -> str:
        """What to say after ``job``, in brackets; nothing after the last."""
        from cea.progress import clock

        self._done += 1
        left = len(self._jobs) - 1 - self._jobs.index(job)
        if not left:
            return ""
        return f"  {left} left, about {clock((time.monotonic() - self._start) / self._done * left)}"
