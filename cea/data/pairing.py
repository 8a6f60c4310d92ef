"""Which target belongs to which input: the naming rules of known sets, a rule that the user states, a table of pairs.

A rule gives each file name a key; an input and a target with one key are a pair. One rule serves a whole set, so that
no file is paired by a rule that its neighbours contradict.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cea.errors import ConfigError, DataError

_DEGRADED = (
    "low|dark|lq|lr|input|degraded|rainy?|hazy|haze|foggy|fog|snowy?|noisy|noise|blur|blurry|blurred|(?:rain)?drop"
)
_CLEAN = "normal|high|bright|gt|hq|hr|target|clean|clear|sharp|norain|ground[-_ ]?truth"
_SCALE = "(?:lr)?x[2348]|lr[2348]"


@dataclass(frozen=True)
class Rule:
    """How the names of a set pair.

    Attributes:
        words: the rule by an example.
        of_input: stem of an input -> key; None where the rule does not speak of such a name.
        of_target: the same for targets.
        shared: whether several inputs may have one target.
    """

    words: str
    of_input: Callable[[str], str | None]
    of_target: Callable[[str], str | None]
    shared: bool = False


def plain(stem: str) -> str:
    """``stem`` in one spelling: Unicode composed (macOS decomposes names), case folded."""
    return composed(stem).casefold()


def without_word(stem: str, words: str) -> str:
    """``stem`` without one of ``words`` (alternatives of a regular expression) at its start or its end.

    ``low00690``, ``0001_gt`` and ``rain-012`` lose it; ``lowell`` and ``rainbow`` are other words.
    """
    match = re.fullmatch(rf"(?:{words})(?:[-_ .]+|(?=\d))(.*)", stem) or re.fullmatch(
        rf"(.*?)(?:[-_ .]+|(?<=\d))(?:{words})", stem
    )
    return match[1] if match else "" if re.fullmatch(words, stem) else stem


def before_variant(stem: str) -> str | None:
    """``0012_0.8_0.2`` -> ``0012``, ``1400_1`` -> ``1400``, as in RESIDE; ``im1_kernel5_img`` -> ``im1``, as Levin's.

    ``img_2`` is no variant of ``img``: it may as well be another picture.
    """
    match = re.fullmatch(r"(\d+)(?:_\d+(?:\.\d+)?)*", stem) or re.fullmatch(r"(.+?)_kernel_?\d+(?:_img)?", stem)
    return match[1] if match else None


def _of_degraded(stem: str) -> str:
    return without_word(without_word(plain(stem), _SCALE), _DEGRADED)


def _of_clean(stem: str) -> str:
    return without_word(plain(stem), _CLEAN)


SAME = Rule("7 -> 7", str, str)
SPELLING = Rule("Café -> café", plain, plain)
WORDS = Rule(
    "low7 -> normal7, rain-7 -> norain-7, 7_hazy -> 7_GT, 7_rain -> 7_clean, 7x4 -> 7", _of_degraded, _of_clean
)
VARIANTS = Rule("7_0.8_0.2 -> 7", before_variant, str, shared=True)
KNOWN_RULES = (SAME, SPELLING, WORDS, VARIANTS)
"""Tried in this order on a plain pair of folders; the first that pairs every input is taken."""


@dataclass(frozen=True)
class Matched:
    """What a rule pairs, in the order of the inputs, and what it leaves alone."""

    pairs: tuple[tuple[Path, Path], ...]
    without_target: tuple[Path, ...]
    without_input: tuple[Path, ...]


def match(inputs: Sequence[Path], targets: Sequence[Path], rules: Iterable[Rule]) -> Matched:
    """Pair by the first rule that leaves no input alone; else by the one that leaves fewest.

    Raises:
        DataError: two targets with one name, or two inputs with one name.
    """
    for files in (inputs, targets):
        _refuse_twins(files)
    return min((_by_rule(inputs, targets, rule) for rule in rules), key=lambda pairing: len(pairing.without_target))


def _by_rule(inputs: Sequence[Path], targets: Sequence[Path], rule: Rule) -> Matched:
    target_of = _unique((rule.of_target(path.stem), path) for path in targets)
    keys = [(rule.of_input(path.stem), path) for path in inputs]
    alone = set() if rule.shared else {path for _, path in keys} - set(_unique(keys).values())
    pairs = [(path, target_of[key]) for key, path in keys if key in target_of and path not in alone]
    return _matched(inputs, targets, pairs)


def _unique(keyed: Iterable[tuple[str | None, Path]]) -> dict[str, Path]:
    """Key -> file, of keys that only one file has."""
    paths_by_key: dict[str, list[Path]] = {}
    for key, path in keyed:
        if key is not None:
            paths_by_key.setdefault(key, []).append(path)
    return {key: paths[0] for key, paths in paths_by_key.items() if len(paths) == 1}


def _matched(inputs: Sequence[Path], targets: Sequence[Path], pairs: Sequence[tuple[Path, Path]]) -> Matched:
    used_inputs, used_targets = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    return Matched(
        tuple(pairs),
        tuple(path for path in inputs if path not in used_inputs),
        tuple(path for path in targets if path not in used_targets),
    )


def _refuse_twins(files: Iterable[Path]) -> None:
    seen: dict[tuple[Path, str], Path] = {}
    for path in files:
        earlier = seen.setdefault((path.parent, path.stem), path)
        if earlier != path:
            raise DataError(
                f"{path.parent}: both {earlier.name} and {path.name}",
                expected="one file of each name",
                remedy="remove one of them",
            )


@dataclass(frozen=True)
class StatedRule:
    """``low(\\d+) -> normal\\1``: a regular expression that an input's name must match in full, and its target's name.

    Names are without suffix; where either side holds a slash, they are paths below the set's folder.
    """

    pattern: re.Pattern[str]
    target: str

    @property
    def of_paths(self) -> bool:
        """Whether it speaks of paths, not of names."""
        return "/" in self.pattern.pattern or "/" in self.target

    def key(self, name: str) -> str | None:
        """The target's name; None for what is no input."""
        match = self.pattern.fullmatch(composed(name))
        return None if match is None else match.expand(self.target)

    def as_rule(self) -> Rule:
        """The same, to match files of two folders."""
        return Rule(f"{self.pattern.pattern} -> {self.target}", self.key, composed, shared=True)


def composed(stem: str) -> str:
    """``stem`` with its accents in one spelling: macOS takes them apart."""
    return unicodedata.normalize("NFC", stem)


EXAMPLE = r"'low(\d+) -> normal\1'"


def parse_rule(text: str) -> StatedRule:
    """A rule as the user states it.

    Raises:
        ConfigError: no arrow, a broken regular expression, or a group that it lacks.
    """
    left, _, right = (side.strip() for side in text.partition("->"))
    expected, remedy = f"INPUT -> TARGET, as in {EXAMPLE}", "correct the rule for pairs"
    if not left or not right:
        raise ConfigError(f"pairs {text!r}", expected=expected, remedy=remedy)
    try:
        pattern = re.compile(composed(left))
        # An alternative that always matches lets the template be tried, with all groups empty.
        probe = re.compile(f"(?:{left})|").fullmatch("")
        assert probe is not None
        probe.expand(right)
    except (re.error, IndexError) as error:
        raise ConfigError(f"pairs {text!r}: {error}", expected=expected, remedy=remedy) from None
    return StatedRule(pattern, composed(right))
