"""How long each stage took: files beside the pipeline's outputs, which no stage depends on and no digest holds."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from cea.io.images import write_bytes
from cea.lineage.liveness import started_ticks

CHANGES_NO_RESULT = True

FOLDER = Path("data/seconds")
"""In the project's folder: one JSON file per stage, of its latest run there; out of DVC's cache nothing runs."""

ARTIFACTS = "seconds"
"""Folder of an MLflow run's artifacts with the times of the stages that follow the training."""

_IMPORTED = time.monotonic()


def stage_name() -> str | None:
    """The stage that DVC runs in this process, such as ``shard@haze``; None outside DVC."""
    address = os.environ.get("DVC_STAGE", "")
    return address.rpartition(":")[2] or None


def elapsed() -> float:
    """Wall time since this process began, in seconds."""
    ticks = started_ticks(os.getpid())
    if ticks and hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - _IMPORTED


def keep(root: Path = Path()) -> None:
    """Write down how long the stage of this process took that is just ending; nothing outside DVC."""
    name = stage_name()
    if name is not None:
        write_bytes(root / FOLDER / f"{name}.json", as_json())


def as_json() -> bytes:
    """What `keep` writes: the time so far."""
    return (json.dumps({"seconds": round(elapsed(), 1), "ended": int(time.time())}) + "\n").encode()


def known(stages: Iterable[str], root: Path = Path()) -> dict[str, float]:
    """Stage -> seconds of its latest run in ``root``; those that have not run there are left out."""
    return {name: seconds for name in stages if (seconds := read(root / FOLDER / f"{name}.json")) is not None}


def read(path: Path) -> float | None:
    """The seconds in one file; None where there is none."""
    try:
        return float(json.loads(path.read_bytes())["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
