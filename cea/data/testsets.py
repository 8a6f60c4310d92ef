"""Benchmark sets as users have them on disk: which layout a folder follows, and what was found in it.

Nothing is copied or renamed. Every image is either in a pair or in a list of what is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from cea.data.judged import JudgedSet, plain_sets, printable, read_set
from cea.data.layouts import LAYOUTS, Layout
from cea.data.pairing import EXAMPLE, KNOWN_RULES
from cea.data.stated import stated_sets
from cea.errors import DataError
from cea.io.faults import shown

_WANTED = "the layout of PromptIR, MoCE-IR or OneRestore, or folders input/ and target/"
_OPTION = f"or state how files pair: --pairs {EXAMPLE} or --pairs FILE.csv (docs/protocol.md)"


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


def remove_lists(folder: Path, names: Collection[str]) -> list[str]:
    """Remove the lists ``<name>.txt`` right in ``folder`` that belong to none of ``names``; what was removed."""
    others = sorted(path for path in folder.glob("*.txt") if path.stem not in names)
    for path in others:
        path.unlink()
    return [path.stem for path in others]


def find_sets(folder: Path, layout: Layout = "auto", pairs: str | None = None) -> list[JudgedSet]:
    """Every test set in ``folder``: of a known layout, a plain pair of folders, or folders of plain pairs.

    ``folder`` may be the root of a layout or the ``test`` folder below it. ``layout`` says which one to look for;
    ``auto`` tries all, plain pairs last. ``pairs`` states how files pair instead: a rule as `parse_rule` reads it, or
    the name of a table.

    Raises:
        DataError: no such folder, nothing recognised, or two targets of one name.
        ConfigError: ``pairs`` is no rule.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}",
            expected="a folder with a benchmark",
            remedy="check the path",
        )
    if pairs:
        return stated_sets(folder, pairs)
    sets = [
        benchmark
        for name, rules in LAYOUTS.items()
        if layout in ("auto", name)
        for root in (folder, folder / "test")
        for rule in rules
        for benchmark in read_set(root, name, rule)
    ]
    if not sets and layout in ("auto", "plain"):
        sets = list(plain_sets(folder, KNOWN_RULES))
    if not sets:
        inside = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{folder}: no test set recognised (it holds {inside})",
            expected=_WANTED if layout == "auto" else f"the layout {layout!r} (docs/protocol.md shows it)",
            remedy=f"pass the folder above the sets, or rename the folders; {_OPTION}; photographs without targets: "
            "--no-reference",
        )
    return sets


def describe(benchmark: JudgedSet, most: int = 5) -> list[str]:
    """What was found, in words: one line, and one each for inputs and targets that nothing belongs to."""
    lines = [f"{benchmark.name} ({benchmark.layout} layout): {_pairs(benchmark)}"]
    for files, what in _alone(benchmark):
        if files:
            lines.append(f"  {len(files)} {what}: {_names(files, most)}")
    return [*lines, *(f"  left out: {shown(each.path)}: {each.reason}" for each in benchmark.left_out)]


def check_complete(sets: Iterable[JudgedSet]) -> None:
    """Refuse sets with inputs that have no target: an average over the rest would be another benchmark.

    Raises:
        DataError: naming the two folders, and three files of each that nothing belongs to.
    """
    for benchmark in sets:
        if benchmark.left_out:
            first = benchmark.left_out[0]
            raise DataError(
                f"{shown(first.path)}: {first.reason}" + _more(len(benchmark.left_out) - 1),
                expected="sets whose every picture can be read",
                remedy="convert or remove it, or judge the rest: --skip-missing",
            )
        if benchmark.pairs and not benchmark.without_target:
            continue
        unpaired = [f"{len(files)} {what}: {_names(files, 3)}" for files, what in _alone(benchmark) if files]
        raise DataError(
            f"{' and '.join(map(str, benchmark.folders))}: {', '.join([_pairs(benchmark), *unpaired])}",
            expected="a target for every input, named as in a known set",
            remedy=f"complete the set, {_OPTION}" + (", or judge the rest: --skip-missing" if benchmark.pairs else ""),
        )


def _pairs(benchmark: JudgedSet) -> str:
    count = len(benchmark.pairs)
    return f"{count} pair" if count == 1 else f"{count} pairs"


def _more(count: int) -> str:
    return f" (and {count} more)" if count else ""


def _alone(benchmark: JudgedSet) -> tuple[tuple[tuple[Path, ...], str], ...]:
    return (benchmark.without_target, "without a target"), (benchmark.without_input, "without an input")


def _names(files: Sequence[Path], most: int) -> str:
    return ", ".join(printable(path.name) for path in files[:most]) + (", ..." if len(files) > most else "")
