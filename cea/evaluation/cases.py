"""What is judged: one degraded image, its clean original, and what is known of the way between them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cea.data.reading import read_sample
from cea.data.shards import Rows, index_parts
from cea.types import Image, ImageU8


@dataclass(frozen=True)
class Pixels:
    """The images of a case.

    Attributes:
        degraded: (H, W, 3) uint8.
        clean: (H, W, 3) uint8.
        severity: (K, H, W) uint8, one band per component, 255 = full; None where it is not known (real pairs).
    """

    degraded: ImageU8
    clean: ImageU8
    severity: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Case:
    """One image to judge, not yet read.

    Attributes:
        sample_id: unique within an evaluation.
        recipe: the recipe or test set it belongs to.
        clean_id: the scene.
        components: names of the degradations in their order; empty where unknown.
        uniform: whether every degradation is spatially uniform; None where unknown.
        read: gives the pixels; called once, in any thread.
    """

    sample_id: str
    recipe: str
    clean_id: str
    components: tuple[str, ...]
    uniform: bool | None
    read: Callable[[], Pixels]
    seen: bool | None = None
    """Whether the restorer was trained on this recipe; None where that is unknown (test sets on disk)."""
    output: Callable[[], Image] | None = None
    """A restoration made elsewhere, (H, W, 3), which is judged instead of a restorer's."""
    fingerprint: str = ""
    """Changes with the files that the pixels come from: a kept row (`cea.evaluation.journal`) counts only for these."""


def shard_cases(folders: Iterable[Path], *, seen: bool | None = None) -> list[Case]:
    """All samples of the given shard folders (one recipe and split each), in the order of folders and indices.

    ``seen`` says whether the restorer was trained on these recipes.

    Raises:
        DataError: a folder is missing or incomplete.
    """
    return [
        _case(folder, rows, number, seen)
        for folder in folders
        for rows in (Rows(index_parts(folder)),)
        for number in range(len(rows))
    ]


def clean_cases(cases: Iterable[Case]) -> list[Case]:
    """Each scene once, undegraded: a restorer should leave it alone. All belong to the recipe ``clean``."""
    scenes = {case.clean_id: case for case in cases}
    return [
        Case(f"{clean_id}-clean", "clean", clean_id, (), None, partial(_read_clean, case))
        for clean_id, case in scenes.items()
    ]


def _read_clean(case: Case) -> Pixels:
    clean = case.read().clean
    return Pixels(clean, clean)


def _case(folder: Path, rows: Rows, number: int, seen: bool | None) -> Case:
    row = rows[number]
    return Case(
        sample_id=row["sample_id"],
        recipe=sys.intern(row["recipe"]),
        clean_id=sys.intern(row["clean_id"]),
        components=tuple(map(sys.intern, row["components"])),
        uniform=row["uniform"],
        read=partial(_read, folder, rows, number),
        seen=seen,
    )


def _read(folder: Path, rows: Rows, number: int) -> Pixels:
    sample = read_sample(folder, rows[number])
    return Pixels(sample.degraded, sample.clean, sample.severity)
