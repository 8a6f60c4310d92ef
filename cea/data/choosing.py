"""Which of the taken images stay, and in which split each goes: from `FACTS` alone, in arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cea.data.duplicates import first_of
from cea.data.splits import SplitConfig, assign
from cea.data.taken import FREE, RANKS

_HELD_OUT = RANKS.index("train")
"""Ranks below this one were held out on purpose."""


def same_pixels(facts: NDArray[Any]) -> NDArray[np.int64]:
    """(n,): for each image the index of the first one whose pixels are the same, its own where it has no twin."""
    first, number = first_of(facts["digest"])
    return first[number]


def held_out_doubles(facts: NDArray[Any], looks: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,): for each image the index of the held-out one that it shows nearly the same as, from another side; else -1.

    Where no photograph was held out on purpose, there are none.

    Args:
        facts: (n,) by rank.
        looks: (n,) group of near duplicates of each.
    """
    ranks = facts["rank"]
    if not ((ranks < _HELD_OUT) & facts["photograph"]).any():
        return np.full(len(facts), -1)
    first, number = first_of(looks)
    best = first[number]
    return np.where((ranks[best] < _HELD_OUT) & (ranks != ranks[best]), best, -1)


def deal(
    facts: NDArray[Any], looks: NDArray[np.int64], shares: SplitConfig, name_of: Callable[[int], str]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The group of each image, as the index of its first one, and the rank of the split that it goes to.

    A group goes to the split that its first image with a wish asks for, else by the least hash of its pixels. Where
    photographs were held out on purpose, none of the others joins them.

    Args:
        facts: (n,) in the order in which groups are named by their first.
        looks: (n,) group of near duplicates of each.
        shares: of the photographs.
        name_of: the whole digest of the image with this index.

    Raises:
        DataError: fewer groups than splits to fill.
    """
    ranks = facts["rank"]
    first, number = first_of(looks)
    wishes = np.full(len(first), FREE, np.uint8)
    wishing = np.flatnonzero(ranks < FREE)
    groups, at = np.unique(number[wishing], return_index=True)
    wishes[groups] = ranks[wishing[at]]
    free = np.flatnonzero(wishes == FREE)
    ascending = np.argsort(facts["digest"], kind="stable")
    least = ascending[np.unique(number[ascending], return_index=True)[1]]
    held: set[str] = {RANKS[rank] for rank in np.unique(ranks[facts["photograph"] & (ranks < FREE)])}
    empty: dict[str, float] = {split: 0.0 for split in ("val", "test") if split in held}
    filled = {RANKS[rank] for rank in np.unique(wishes[wishes < FREE])}
    names = (name_of(int(index)) for index in least[free])
    dealt = assign(names, shares.model_copy(update=empty), filled=filled)
    wishes[free] = np.fromiter(map(RANKS.index, dealt), np.uint8, len(free))
    return first[number], wishes[number]
