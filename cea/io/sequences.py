"""Long sequences a part at a time, and sorted without being in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import chain, islice, pairwise
from tempfile import TemporaryFile
from typing import TypeVar

T = TypeVar("T")

_RUN = 1 << 16
"""Entries that are sorted in memory."""

_BLOCK = 1 << 16
"""Bytes of each sorted run that are read at a time."""

_END = b"\0"


def in_parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, in their order; the last may be shorter."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def in_order(entries: Iterable[bytes]) -> Iterator[bytes]:
    """``entries`` sorted. Where there are more than `_RUN`, they go through a temporary file without a name.

    Args:
        entries: without zero bytes.

    Raises:
        OSError: there is no room for that file.
    """
    runs = in_parts(entries, _RUN)
    first, second = sorted(next(runs, [])), next(runs, None)
    if second is None:
        yield from first
        return
    with TemporaryFile() as file:
        ends = [0]
        for some in chain([first, second], runs):
            file.writelines(each + _END for each in sorted(some))
            ends.append(file.tell())
        del first, second
        file.flush()
        yield from merge(*(_between(file.fileno(), *part) for part in pairwise(ends)))


def _between(handle: int, begin: int, end: int) -> Iterator[bytes]:
    cut = b""
    while begin < end:
        data = os.pread(handle, min(_BLOCK, end - begin), begin)
        begin += len(data)
        *whole, cut = (cut + data).split(_END)
        yield from whole
