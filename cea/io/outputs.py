"""Where results go: one output for every input, all that can be checked is checked before the work."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from errno import ENAMETOOLONG, ENOTDIR
from pathlib import Path
from typing import TypeVar

from cea.errors import DataError, ImageError, InputError
from cea.io.faults import explained, shown
from cea.io.results import Results, Settings
from cea.io.walk import LeftOut, find_pictures

T = TypeVar("T")


@dataclass(frozen=True)
class PictureJob:
    """One photograph, and the file that its result is written to."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """All that is to be done.

    Attributes:
        root: what the user named, for messages.
        jobs: in the order of the sources; no two targets are one file, on no file system.
        left_out: what cannot be done, known before the work.
        others: files that are no pictures.
        out: the folder of all targets, or the one file.
        is_one_file: whether one photograph was named, whose target was named as well.
    """

    root: Path
    jobs: tuple[PictureJob, ...]
    left_out: tuple[LeftOut, ...] = ()
    others: tuple[Path, ...] = ()
    out: Path = Path()
    is_one_file: bool = False


def plan_outputs(
    inputs: Sequence[Path], out: Path, suffixes: Iterable[str], *, default: str = ".png", beside: bool = False
) -> Plan:
    """What is read and where its result goes, checked as far as it can be without doing the work.

    One photograph and an ``out`` that is no existing folder: that file. Else a folder: every photograph gets
    ``<out>/<its path below the folder that was named><default>``; where two would meet (``a.jpg`` beside ``a.png``)
    they are told apart: ``a_jpg.png`` and ``a_png.png``. A photograph that is named twice is one photograph.

    Args:
        inputs: photographs and folders.
        out: a file, or a folder; one inside an input is not read.
        suffixes: which results may be written, e.g. ``{".png", ".tif"}``.
        default: which one results in a folder get.
        beside: whether ``<target>.<anything>.png`` is written too, so that no other target may look like this.

    Raises:
        ImageError: no pictures, or ``out`` has a suffix that is not written.
        DataError: an input is missing, the place is taken or cannot be written, or a result would replace an input.
    """
    for path in (*inputs, out):
        _check_name(path)
    with explained(None):
        inputs = _once(inputs, lambda path: path)
        if len(inputs) == 1 and not inputs[0].is_dir() and not out.is_dir():
            plan = _one(inputs[0], out, frozenset(suffixes))
        else:
            plan = _many(inputs, out, frozenset(suffixes), default, beside)
        for job in plan.jobs:
            if job.target.exists() and job.source.exists() and job.target.samefile(job.source):
                raise DataError(
                    f"{shown(job.target)} is the photograph itself",
                    expected="an output beside the photograph",
                    remedy="name another file or folder with --out",
                )
    check_place(out, is_folder=not plan.is_one_file)
    return plan


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{shown(path)}: a name that is not UTF-8", expected="a name in UTF-8", remedy="rename the file"
        ) from None


def _one(source: Path, out: Path, suffixes: frozenset[str]) -> Plan:
    if not source.exists():
        raise ImageError(f"{source}: no such file", expected="a photograph, or a folder", remedy="check the path")
    if out.suffix.lower() not in suffixes:
        raise ImageError(
            f"{out}: a suffix that is not written here",
            expected=f"a file ending in {', '.join(sorted(suffixes))}",
            remedy="change the suffix",
        )
    return Plan(source, (PictureJob(source, out),), out=out, is_one_file=True)


def _many(inputs: Sequence[Path], out: Path, suffixes: frozenset[str], default: str, beside: bool) -> Plan:
    if out.suffix.lower() in suffixes and not out.is_dir():
        raise DataError(
            f"{out} names one file, and several photographs are to be written",
            expected="a folder",
            remedy="change --out",
        )
    entries: list[tuple[Path, Path]] = []
    left_out: list[LeftOut] = []
    others: list[Path] = []
    for path in inputs:
        if path.is_dir():
            if out.is_dir() and path.samefile(out):
                raise DataError(
                    f"{out} is the folder of the photographs itself",
                    expected="another folder (one inside it will do)",
                    remedy="change --out",
                )
            inside = find_pictures(path, without=out)
            entries += [(source, source.relative_to(path)) for source in inside.pictures]
            left_out += inside.left_out
            others += inside.others
        elif path.exists():
            entries.append((path, Path(path.name)))
        else:
            left_out.append(LeftOut(path, "no such file; check the path"))
    entries = _once(entries, lambda entry: entry[0])
    if not entries and not left_out:
        raise ImageError(
            f"{', '.join(map(str, inputs))}: no images" + (f" among {len(others)} other files" if others else ""),
            expected="PNG, JPEG, TIFF, ...",
            remedy="check the folder",
        )
    jobs = []
    for (source, _), name in zip(entries, _distinct([name for _, name in entries], default, beside), strict=True):
        target = out / name
        reason = _cannot_be_named(target)
        if reason:
            left_out.append(LeftOut(source, reason))
        else:
            jobs.append(PictureJob(source, target))
    sources = {_key(job.source.resolve()) for job in jobs}
    for job in jobs:
        if _key(job.target.resolve()) in sources and job.target.exists():
            raise DataError(
                f"{job.target} is a photograph that is to be read, and would be written over",
                expected="a folder without photographs of these names",
                remedy="change --out",
            )
    root = inputs[0] if len(inputs) == 1 else Path()
    return Plan(root, tuple(jobs), tuple(left_out), tuple(others), out)


def _once(named: Iterable[T], path_of: Callable[[T], Path]) -> list[T]:
    """The first of all that name the same file, however they spell it; a link counts as a file of its own."""
    first: dict[Path, T] = {}
    for one in named:
        path = path_of(one)
        first.setdefault(path.parent.resolve() / path.name, one)
    return list(first.values())


def _key(path: Path) -> str:
    """Equal for two paths that some file system takes for one: case and the spelling of accents do not count."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def _distinct(names: list[Path], suffix: str, beside: bool) -> list[Path]:
    """A name for every result, no two alike, none that is a folder of another."""
    stems = [name.with_suffix("") if name.suffix else name for name in names]
    counts = Counter(map(_key, stems))
    folders = {_key(parent) for name in names for parent in name.parents}
    keys = set(counts)

    def clashes(stem: Path) -> bool:
        written = stem.with_name(stem.name + suffix)
        parts = stem.name.split(".")
        begins = (_key(stem.with_name(".".join(parts[:length]))) for length in range(1, len(parts)))
        return _key(written) in folders or (beside and any(begin in keys for begin in begins))

    plain = [counts[_key(stem)] == 1 and not clashes(stem) for stem in stems]
    taken = {_key(stem) for stem, is_plain in zip(stems, plain, strict=True) if is_plain}
    result = []
    for name, stem, is_plain in zip(names, stems, plain, strict=True):
        chosen = stem
        if not is_plain:
            flat = f"{stem.name}_{name.suffix[1:]}" if name.suffix else f"{stem.name}_"
            chosen, number = stem.with_name(flat.replace(".", "_") if beside else flat), 2
            base = chosen.name
            while _key(chosen) in taken or clashes(chosen):
                chosen, number = chosen.with_name(f"{base}_{number}"), number + 1
            taken.add(_key(chosen))
        result.append(chosen.with_name(chosen.name + suffix))
    return result


def _cannot_be_named(target: Path) -> str | None:
    length = len(os.fsencode(target.name))
    limit = _longest_name(target.parent)
    if length > limit:
        return f"its result's name would have {length} bytes, and at most {limit} are allowed; rename it"
    if target.is_dir():
        return f"a folder is in the way of its result, {shown(target)}; remove it"
    return None


def _longest_name(folder: Path) -> int:
    try:
        return os.pathconf(_standing(folder), "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):
        return 255


def _standing(path: Path) -> Path:
    """``path``, or the nearest one above it that exists."""
    return next(ancestor for ancestor in (path, *path.absolute().parents) if os.path.lexists(ancestor))


def check_place(path: Path, *, is_folder: bool) -> None:
    """Refuse a place where the result cannot be written; nothing is created.

    Raises:
        DataError: it is a folder where a file is to be (or the other way round), its name is too long, or it cannot be
            written.
    """
    with explained(path):
        if is_folder and path.exists() and not path.is_dir():
            raise DataError(f"{path} is a file", expected="a folder", remedy="change --out, or remove the file")
        if not is_folder and path.is_dir():
            raise DataError(f"{path} is a folder", expected="the name of a file", remedy="change --out")
        if len(os.fsencode(path.name)) > _longest_name(path.parent):
            raise OSError(ENAMETOOLONG, os.strerror(ENAMETOOLONG))
        standing = _standing(path if is_folder else path.parent)
        if not standing.is_dir():
            raise OSError(ENOTDIR, os.strerror(ENOTDIR))
        with tempfile.TemporaryFile(dir=standing):
            pass


def process(
    plan: Plan,
    work: Callable[[PictureJob], None],
    say: Callable[[str], None],
    *,
    settings: Settings,
    overwrite: bool = False,
    is_done: Callable[[PictureJob], bool] = lambda job: job.target.is_file(),
) -> None:
    """Do ``work`` for every photograph; what cannot be done is left out and named at the end, with its reason.

    A folder keeps a record of what its results were made with (`cea.io.results`): those that are there are kept where
    they were made from the same photograph with the same ``settings``, and stop everything where they were not.

    Args:
        plan: of `plan_outputs`.
        work: reads, computes and writes one photograph.
        say: takes a line for stderr.
        settings: what decides the pixels of a result, besides its photograph.
        overwrite: whether results that are there already are made again. One named file always is.
        is_done: whether a result is there already.

    Raises:
        InputError: one photograph was named, and it failed.
        DataError: a result is there that was made otherwise; nothing is done.
        ImageError: something was left out.
    """
    if plan.is_one_file:
        work(plan.jobs[0])
        return
    results = Results(plan.out, settings)
    kept = set() if overwrite else {job for job in plan.jobs if _is_kept(results, job) and is_done(job)}
    left_out, there = list(plan.left_out), len(kept)
    for job in plan.jobs:
        if job in kept:
            continue
        try:
            work(job)
            results.add(job.source, job.target)
        except (ImageError, DataError) as error:
            left_out.append(LeftOut(job.source, _reason(error, job)))
    if there:
        were, are, them = ("was", "is", "it") if there == 1 else ("were", "are", "them")
        say(f"{there} of {len(plan.jobs)} {were} there already and left as {are} (--overwrite makes {them} again)")
    if plan.others:
        names = ", ".join(_below(path, plan.root) for path in plan.others[:3])
        files = (
            "1 file that is no picture" if len(plan.others) == 1 else f"{len(plan.others)} files that are no pictures"
        )
        say(f"{files}: {names}" + (", ..." if len(plan.others) > 3 else ""))
    raise_left_out(plan, left_out, say)


def _is_kept(results: Results, job: PictureJob) -> bool:
    with explained(job.source):
        return job.target.is_file() and results.is_kept(job.source, job.target)


def raise_left_out(plan: Plan, left_out: list[LeftOut], say: Callable[[str], None]) -> None:
    """Name what was left out, a line each, and end with an error where there is anything.

    Raises:
        ImageError: with all the names.
    """
    names = [_below(entry.path, plan.root) for entry in left_out]
    for name, entry in zip(names, left_out, strict=True):
        say(f"left out: {name}: {entry.reason}")
    if names:
        total = len(plan.jobs) + len(plan.left_out)
        raise ImageError(
            f"{plan.root}: {count_left_out(len(names), total)}: {', '.join(names)}",
            expected="images that can be read and written",
            remedy="mend or remove these files; the others are written",
        )


def count_left_out(count: int, total: int) -> str:
    """``1 of 8 images was left out``."""
    return f"{count} of {total} images {'was' if count == 1 else 'were'} left out"


def _below(path: Path, root: Path) -> str:
    return shown(path.relative_to(root) if path != root and path.is_relative_to(root) else path)


def _reason(error: InputError, job: PictureJob) -> str:
    return str(error).removeprefix(f"{job.source}: ")
