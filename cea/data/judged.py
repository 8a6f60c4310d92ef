"""Sets of test images as they lie on disk: pairs, and what nothing belongs to."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cea.data.layouts import PLAIN, SIGMAS, SetLayout
from cea.data.pairing import Rule, match
from cea.errors import DataError
from cea.io.walk import LeftOut, find_pictures


@dataclass(frozen=True)
class JudgedPair:
    """One test image: its stem, the degraded file (None: noise of ``sigma_255`` is added), the clean file."""

    name: str
    degraded: Path | None
    clean: Path
    sigma_255: int | None = None


@dataclass(frozen=True)
class JudgedSet:
    """A set as found on disk.

    Attributes:
        name: e.g. ``Rain100L`` or ``bsd68-sigma25``.
        layout: whose layout it follows.
        components: what degraded the inputs; empty where unknown.
        pairs: in natural order of their names.
        without_target: degraded files that no target belongs to.
        without_input: clean files that no input belongs to.
        left_out: what lies in the folders and cannot be judged.
        folders: of inputs and targets, where the pairs are from.
    """

    name: str
    layout: str
    components: tuple[str, ...]
    pairs: tuple[JudgedPair, ...]
    without_target: tuple[Path, ...] = ()
    without_input: tuple[Path, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    folders: tuple[Path, ...] = ()


def plain_sets(folder: Path, rules: tuple[Rule, ...]) -> Iterator[JudgedSet]:
    """Sets of two folders with the names of `PLAIN`, in ``folder`` itself and in the folders in it."""
    for candidate in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        names = next((names for names in PLAIN if all(child(candidate, name).is_dir() for name in names)), None)
        if names is not None:
            yield from read_set(candidate, "plain", SetLayout(candidate.resolve().name, *names, (), rules))


def read_set(root: Path, layout: str, rule: SetLayout) -> Iterator[JudgedSet]:
    """The set of ``rule`` below ``root``, three for noise that is added; none where its folders are not there."""
    targets = child(root, rule.targets)
    if rule.inputs is None:
        for sigma in SIGMAS if targets.is_dir() else ():
            pairs = tuple(JudgedPair(printable(path.stem), None, path, sigma) for path in images_in(targets))
            yield JudgedSet(
                f"{rule.name}-sigma{sigma}",
                layout,
                rule.components,
                pairs,
                left_out=_left_out(targets),
                folders=(targets,),
            )
    elif (inputs := child(root, rule.inputs)).is_dir() and targets.is_dir():
        yield paired(layout, rule, (inputs, targets))


def paired(layout: str, rule: SetLayout, folders: Sequence[Path]) -> JudgedSet:
    """The set of the images in ``folders``: of inputs and of targets.

    Raises:
        DataError: a folder without images, or two files of one name.
    """
    inputs, targets = map(images_in, folders)
    left_out = tuple(each for folder in folders for each in _left_out(folder))
    for folder, files in zip(folders, (inputs, targets), strict=True):
        if not files and not left_out:
            raise DataError(
                f"{folder}: no images in it", expected="images of a test set", remedy="complete the set or remove it"
            )
    matched = match(inputs, targets, rule.rules)
    pairs = tuple(JudgedPair(printable(path.stem), path, target) for path, target in matched.pairs)
    alone = matched.without_target, matched.without_input
    return JudgedSet(rule.name, layout, rule.components, pairs, *alone, left_out, tuple(folders))


def child(folder: Path, name: str) -> Path:
    """``name`` below ``folder``, each part as it is or, where there is none, in another case."""
    for component in filter(None, name.split("/")):
        here = folder / component
        if not here.exists() and folder.is_dir():
            here = next(
                (each for each in sorted(folder.iterdir()) if each.name.casefold() == component.casefold()), here
            )
        folder = here
    return folder


def images_in(folder: Path, *, deep: bool = False) -> list[Path]:
    """Pictures in a folder (``deep``: and below it) in natural order (2 before 10), by `cea.io.walk.find_pictures`."""
    pictures = find_pictures(folder).pictures
    return sorted((path for path in pictures if deep or path.parent == folder), key=_natural)


def _left_out(folder: Path) -> tuple[LeftOut, ...]:
    return tuple(each for each in find_pictures(folder).left_out if each.path.parent == folder)


def printable(name: str) -> str:
    """A file's name for tables and messages: in one spelling, and text whatever its bytes are."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))


def _natural(path: Path) -> list[str | int]:
    """``a12b`` -> ``["a", 12, "b"]``: text and numbers always alternate, so that keys compare."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]+)", path.name))]
