"""Training images that also occur in a test set: the same pixels, or the same picture resized, recompressed or turned.

Rain100L and CBSD68, for instance, share scenes with BSDS500, on which many methods train.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cea.data.duplicates import groups, thumbnail
from cea.data.judged import JudgedSet
from cea.errors import DataError
from cea.io.images import read_rgb
from cea.levels import to_uint8


@dataclass(frozen=True)
class Leak:
    """A training image and the test image it repeats."""

    train: str
    test: Path


def find_leaks(train: Mapping[str, Path], sets: Iterable[JudgedSet]) -> list[Leak]:
    """Training images (name -> file) that show what a clean test image shows; crops of a picture are not found.

    Raises:
        ImageError: a file that cannot be read.
    """
    tests = sorted({pair.clean for benchmark in sets for pair in benchmark.pairs})
    names = list(train)
    small = [thumbnail(to_uint8(read_rgb(path))) for path in (*tests, *train.values())]
    first = groups(small)
    # Tests come first, so a training image that repeats one is in a group that a test image leads.
    return [
        Leak(name, tests[first[len(tests) + number]])
        for number, name in enumerate(names)
        if first[len(tests) + number] < len(tests)
    ]


def check_leaks(train: Mapping[str, Path], sets: Iterable[JudgedSet]) -> None:
    """Refuse to judge on images that were trained on.

    Raises:
        DataError: naming the first ones.
    """
    leaks = find_leaks(train, sets)
    if leaks:
        shown = ", ".join(f"{leak.train} repeats {leak.test.name}" for leak in leaks[:5])
        raise DataError(
            f"{len(leaks)} training images occur in the test sets: {shown}",
            expected="test images that were not trained on",
            remedy="take them out of the training images and train again",
        )
