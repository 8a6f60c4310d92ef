"""Benchmark sets as users have them on disk: which layout a folder follows, and which target belongs to which input.

Nothing is copied or renamed. Every image is either in a pair or in a list of what is missing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cea.degradations.contract.cdd11 import COMPOSITIONS
from cea.errors import DataError
from cea.io.images import IMAGE_SUFFIXES

SIGMAS = (15, 25, 50)
"""Grey levels of the noise that is added to clean denoising sets."""

Rule = Callable[[str], str]
"""Stem of an input -> stem of its target."""


def list_files(folder: Path) -> str:
    """A line ``<SHA-256>  <path>`` for every file below ``folder``, ordered by path.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", expected="a folder of test images", remedy="correct params.yaml")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files
    )


def same_name(stem: str) -> str:
    """``12`` -> ``12``."""
    return stem


def rain_number(stem: str) -> str:
    """``rain-012`` -> ``norain-012``, as in the Rain100 sets."""
    return re.sub(r"^rain-?(?=\d)", lambda found: "no" + found[0], stem)


def before_underscore(stem: str) -> str:
    """``0012_0.8_0.2`` -> ``0012``, as in RESIDE: several inputs share a target."""
    return stem.partition("_")[0]


@dataclass(frozen=True)
class SetLayout:
    """Where a set lies below its benchmark's folder, and how its files pair.

    Attributes:
        name: of the set.
        inputs: folder of degraded images; None where noise is added to the clean ones.
        targets: folder of clean images.
        components: what degraded the inputs.
        rules: tried in turn for every input.
    """

    name: str
    inputs: str | None
    targets: str
    components: tuple[str, ...]
    rules: tuple[Rule, ...] = (same_name,)


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
    """

    name: str
    layout: str
    components: tuple[str, ...]
    pairs: tuple[JudgedPair, ...]
    without_target: tuple[Path, ...] = ()
    without_input: tuple[Path, ...] = ()


def _cdd11(prefix: str) -> tuple[SetLayout, ...]:
    return tuple(
        SetLayout(f"CDD-11-{kind}", f"{prefix}{kind}", f"{prefix}clear", tuple(kind.split("_")))
        for kind in COMPOSITIONS
    )


LAYOUTS: dict[str, tuple[SetLayout, ...]] = {
    "promptir": (
        *(SetLayout(name, None, f"denoise/{name}", ("noise",)) for name in ("bsd68", "urban100", "kodak24")),
        SetLayout("Rain100L", "derain/Rain100L/input", "derain/Rain100L/target", ("rain",), (same_name, rain_number)),
        SetLayout("SOTS-outdoor", "dehaze/input", "dehaze/target", ("haze",), (before_underscore,)),
        SetLayout("GoPro", "deblur/gopro/input", "deblur/gopro/target", ("blur",)),
        SetLayout("LOL-v1", "enhance/lol/input", "enhance/lol/target", ("low",)),
    ),
    "moceir": (
        SetLayout("CBSD68", None, "denoising/cBSD68/original_png", ("noise",)),
        SetLayout("Rain100L", "deraining/Rain100L/rainy", "deraining/Rain100L/gt", ("rain",), (same_name, rain_number)),
        SetLayout(
            "SOTS-outdoor", "dehazing/SOTS/outdoor/hazy", "dehazing/SOTS/outdoor/gt", ("haze",), (before_underscore,)
        ),
        SetLayout("GoPro", "deblurring/GoPro/test/input", "deblurring/GoPro/test/target", ("blur",)),
        SetLayout("LOL-v1", "llie/LOLv1/Test/input", "llie/LOLv1/Test/target", ("low",)),
        *_cdd11("cdd11/test/"),
    ),
    "onerestore": (*_cdd11("CDD-11_test/"), *_cdd11("")),
}
"""Layouts by family; see docs/protocol.md for the whole trees."""

Layout = Literal["auto", "promptir", "moceir", "onerestore", "plain"]
"""Which layout to look for; ``auto`` for whichever is there."""

_WANTED = "the layout of PromptIR, MoCE-IR or OneRestore, or folders input/ and target/"

PLAIN = (
    ("input", "target"),
    *(("degraded", "clean"), ("lq", "gt"), ("rainy", "gt"), ("hazy", "gt"), ("noisy", "clean"), ("blur", "sharp")),
)
"""Folder names of a plain pair, in the order in which they are looked for."""

_ANY_RULE = (same_name, rain_number, before_underscore)


def find_sets(folder: Path, layout: Layout = "auto") -> list[JudgedSet]:
    """Every test set in ``folder``: of a known layout, a plain pair of folders, or folders of plain pairs.

    ``folder`` may be the root of a layout or the ``test`` folder below it. ``layout`` says which one to look for;
    ``auto`` tries all, plain pairs last.

    Raises:
        DataError: no such folder, nothing recognised, or two targets of one name.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", expected="a folder with a benchmark", remedy="check the path")
    sets = [
        benchmark
        for name, rules in LAYOUTS.items()
        if layout in ("auto", name)
        for root in (folder, folder / "test")
        for rule in rules
        for benchmark in _read_set(root, name, rule)
    ]
    if not sets and layout in ("auto", "plain"):
        sets = list(_plain_sets(folder))
    if not sets:
        inside = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{folder}: no test set recognised (it holds {inside})",
            expected=_WANTED if layout == "auto" else f"the layout {layout!r} (docs/protocol.md shows it)",
            remedy="pass the folder above the sets, or rename the folders; photographs without targets: --no-reference",
        )
    return sets


def describe(benchmark: JudgedSet, most: int = 5) -> list[str]:
    """What was found, in words: one line, and one each for inputs and targets that nothing belongs to."""
    lines = [f"{benchmark.name} ({benchmark.layout} layout): {len(benchmark.pairs)} pairs"]
    for files, what in ((benchmark.without_target, "without a target"), (benchmark.without_input, "without an input")):
        if files:
            names = ", ".join(path.name for path in files[:most]) + (", ..." if len(files) > most else "")
            lines.append(f"  {len(files)} {what}: {names}")
    return lines


def check_complete(sets: Iterable[JudgedSet]) -> None:
    """Refuse sets with inputs that have no target: an average over the rest would be another benchmark.

    Raises:
        DataError: naming the first ones.
    """
    for benchmark in sets:
        if benchmark.without_target or not benchmark.pairs:
            raise DataError(
                "; ".join(line.strip() for line in describe(benchmark)),
                expected="a target for every input",
                remedy="complete the set, or skip what is missing on purpose (--skip-missing)",
            )


def _plain_sets(folder: Path) -> Iterator[JudgedSet]:
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        names = next((names for names in PLAIN if all((place / name).is_dir() for name in names)), None)
        if names is not None:
            yield from _read_set(place, "plain", SetLayout(place.resolve().name, *names, (), _ANY_RULE))


def _read_set(root: Path, layout: str, rule: SetLayout) -> Iterator[JudgedSet]:
    targets = _images(root / rule.targets)
    if not targets:
        return
    if rule.inputs is None:
        for sigma in SIGMAS:
            pairs = tuple(JudgedPair(path.stem, None, path, sigma) for path in targets)
            yield JudgedSet(f"{rule.name}-sigma{sigma}", layout, rule.components, pairs)
    elif inputs := _images(root / rule.inputs):
        yield _paired(layout, rule, inputs, targets)


def _paired(layout: str, rule: SetLayout, inputs: list[Path], targets: list[Path]) -> JudgedSet:
    target_of: dict[str, Path] = {}
    for path in targets:
        if path.stem in target_of:
            raise DataError(
                f"{path.parent}: both {target_of[path.stem].name} and {path.name}",
                expected="one target of each name",
                remedy="remove one of them",
            )
        target_of[path.stem] = path
    pairs, alone = [], []
    for path in inputs:
        target = next((target_of[stem] for apply in rule.rules if (stem := apply(path.stem)) in target_of), None)
        if target is None:
            alone.append(path)
        else:
            pairs.append(JudgedPair(path.stem, path, target))
    used = {pair.clean for pair in pairs}
    unused = tuple(path for path in targets if path not in used)
    return JudgedSet(rule.name, layout, rule.components, tuple(pairs), tuple(alone), unused)


def _images(folder: Path) -> list[Path]:
    """Image files of a folder in natural order (2 before 10); empty where there is none."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES), key=_natural)


def _natural(path: Path) -> list[str | int]:
    """``a12b`` -> ``["a", 12, "b"]``: text and numbers always alternate, so that keys compare."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", path.name))]
