"""Earlier runs of the store, as a report sets them beside its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cea.lineage.facts import CODE_TAG

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class OtherRun:
    """Another run of the store.

    Attributes:
        name: with the beginning of its id.
        summary: its ``summary.json``.
        repeat: whether nothing but the seed tells it from ours.
        steps: that it was trained for; empty where that is not recorded.
        changes: parameters whose values are others than ours.
    """

    name: str
    summary: Path
    repeat: bool
    steps: str = ""
    changes: Mapping[str, str] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """Steps and the first changed parameters, in a few words."""
        named = {key: value for key, value in self.changes.items() if key != STEPS}
        parts = [f"{self.steps} steps"] * bool(self.steps)
        parts += [f"{key} {value}" for key, value in list(named.items())[:_CHANGES_SHOWN]]
        more = len(named) - _CHANGES_SHOWN
        return ", ".join(parts) + (f", {more} more parameters" if more > 0 else "")


STEPS = "train.max_steps"
_CHANGES_SHOWN = 4


def changes(run: Run, own: Run) -> dict[str, str]:
    """Parameters of ``run`` that have another value in ``own``.

    Those that only one of them has do not count, nor those that change no score.
    """
    ours = own.data.params
    return {
        key: value
        for key, value in sorted(run.data.params.items())
        if ours.get(key, value) != value and not key.startswith(("report.", "tracking."))
    }


def is_repeat(run: Run, own: Run) -> bool:
    """Equal code and equal parameters, seeds apart; what is not recorded is not taken for equal."""
    codes = {run.data.tags.get(CODE_TAG), own.data.tags.get(CODE_TAG)}
    params = [_without_seeds(one.data.params) for one in (run, own)]
    return len(codes) == 1 and None not in codes and bool(params[0]) and params[0] == params[1]


def _without_seeds(params: Mapping[str, str]) -> dict[str, str]:
    """The parameters that decide a result, chance apart."""
    return {key: value for key, value in params.items() if not key.endswith("seed") and key.split(".")[0] in _DECIDING}


_DECIDING = ("ingest", "synthesize", "recipes", "shard", "model", "train")
