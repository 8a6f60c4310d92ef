"""Test sets whose pairs the user states: by a rule for names, or by a table."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

from cea.data.judged import JudgedPair, JudgedSet, images_in, paired, plain_sets, printable
from cea.data.layouts import SetLayout
from cea.data.pairing import EXAMPLE, StatedRule, composed, parse_rule
from cea.errors import DataError
from cea.io.images import IMAGE_SUFFIXES


def stated_sets(folder: Path, pairs: str) -> list[JudgedSet]:
    """Sets in ``folder`` that pair as the user says: by a rule (`cea.data.pairing.parse_rule`), or by a table.

    A rule without slashes is for names in two folders: a plain pair as `cea.data.judged.plain_sets` knows them, or
    the only two folders with images in ``folder``, or ``folder`` itself, whose images then are of both kinds. A rule
    with slashes is for paths below ``folder``.

    A table is a CSV file with an input and its target in each line, as paths below ``folder``; it is looked for below
    ``folder``, then from the current folder. A first line that names no images is a header.

    Raises:
        ConfigError: a rule that cannot be read.
        DataError: no image that the rule speaks of, or a table that cannot be read or names files that are not there.
    """
    if "->" not in pairs:
        return [_of_table(folder, pairs)]
    rule = parse_rule(pairs)
    if rule.of_paths:
        return [_of_paths(folder, rule)]
    return list(plain_sets(folder, (rule.as_rule(),))) or [_of_two_folders(folder, rule)]


def _of_two_folders(folder: Path, rule: StatedRule) -> JudgedSet:
    """Whichever folder the rule finds inputs in is that of the inputs."""
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and images_in(path)]
    places = list(itertools.permutations(below)) if len(below) == 2 else []
    places += [(folder, folder)] if images_in(folder) else []
    layout = SetLayout(folder.resolve().name, "", "", (), (rule.as_rule(),))
    paired_sets = [paired("stated", layout, place) for place in places]
    if not paired_sets:
        names = ", ".join(path.name for path in below) or "none"
        raise DataError(
            f"{folder}: the folders with images in it are {names}",
            expected="two, or known names such as input/ and target/",
            remedy=r"state the rule with its folders: --pairs 'dark/(.*) -> bright/\1'",
        )
    return max(paired_sets, key=lambda one: len(one.pairs))


def _of_paths(folder: Path, rule: StatedRule) -> JudgedSet:
    """Pairs among all images below ``folder``, by their paths without suffix."""
    path_of = {_path(path, folder): path for path in images_in(folder, deep=True)}
    target_of = {name: key for name in path_of if (key := rule.key(name)) is not None}
    if not target_of:
        raise DataError(
            f"{folder}: none of {len(path_of)} images has a path that {rule.pattern.pattern} matches"
            + (f" ({', '.join(list(path_of)[:3])}, ...)" if path_of else ""),
            expected="paths below that folder, without suffixes",
            remedy="correct the rule for pairs",
        )
    pairs = tuple(
        JudgedPair(printable(name), path_of[name], path_of[target])
        for name, target in target_of.items()
        if target in path_of
    )
    alone = tuple(path_of[name] for name, target in target_of.items() if target not in path_of)
    return JudgedSet(folder.resolve().name, "stated", (), pairs, alone, folders=(folder,))


def _path(path: Path, folder: Path) -> str:
    return composed(path.relative_to(folder).with_suffix("").as_posix())


def _of_table(folder: Path, table: str) -> JudgedSet:
    path = next((place for place in (folder / table, Path(table)) if place.is_file()), None)
    if path is None:
        raise DataError(
            f"--pairs {table}: no such file",
            expected=f"a CSV file of pairs, or a rule as in {EXAMPLE}",
            remedy="correct --pairs",
        )
    rows = _rows(path)
    missing = [cell for _, row in rows for cell in row if not (folder / cell).is_file()]
    if missing or not rows:
        raise DataError(
            f"{path}: {missing[0] + ': no such file below ' + str(folder) if missing else 'no pairs in it'}",
            expected="an input and its target in each line, as paths below the set's folder",
            remedy="correct the table",
        )
    pairs = tuple(
        JudgedPair(printable(str(Path(row[0]).with_suffix(""))), folder / row[0], folder / row[1]) for _, row in rows
    )
    return JudgedSet(folder.resolve().name, "stated", (), pairs, folders=(folder,))


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines of a table of pairs, with their numbers, without its header."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        delimiter = next((mark for mark in ",;\t" if mark in text.partition("\n")[0]), ",")
        rows = [
            (number, [cell.strip() for cell in row])
            for number, row in enumerate(
                csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True), 1
            )
            if any(cell.strip() for cell in row)
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: {error}", expected="a CSV file in UTF-8", remedy="save the table as CSV in UTF-8"
        ) from None
    wrong = next((number for number, row in rows if len(row) != 2 or not all(row)), None)
    if wrong is not None:
        raise DataError(
            f"{path}, line {wrong}: not two names", expected="an input and its target", remedy="correct the line"
        )
    has_header = bool(rows) and not any(Path(cell).suffix.lower() in IMAGE_SUFFIXES for cell in rows[0][1])
    return rows[has_header:]
