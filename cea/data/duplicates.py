"""Near duplicates: the same picture resized, recompressed, mirrored or turned. Crops are not found.

Two steps: a 64-bit difference hash (the signs of the differences of neighbouring cells of a 9x8 thumbnail) proposes
pairs, the correlation of 32x32 thumbnails decides. The thumbnail ignores the aspect ratio.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.rng import generator, stream
from cea.types import ImageU8

MAX_DISTANCE = 12
"""Hashes that differ in more bits are not compared further."""

MIN_CORRELATION = 0.93
"""Thumbnails that correlate at least so much show the same picture."""

_SIDE = 32
THUMBNAIL = (_SIDE, _SIDE)
"""Height and width of a thumbnail."""

_FEW = 4096
"""Images of which all pairs are compared."""

_BLOCK = 1024
_DIGEST = 16
_PAIRS = 1 << 21
"""Thumbnails, and pairs, that are looked at together."""

_PLANES = 512
_MORE_BITS = 4
"""Bits of a bucket beyond those that count the images: so few share one by chance."""

_MISSED = 1e-5
"""How often a pair with exactly `MIN_CORRELATION` shares no bucket, for planes that are independent."""

_INDEX_BITS = np.uint64(32)
_INDEX_MASK = np.uint64(2**32 - 1)

Thumbnail = NDArray[np.uint8]
"""(32, 32) uint8 grey."""


def thumbnail(rgb: ImageU8) -> Thumbnail:
    """A grey 32x32 version of a (H, W, 3) uint8 image."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def difference_hash(small: Thumbnail) -> int:
    """The 64-bit difference hash of a thumbnail."""
    cells = cv2.resize(small, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = cells[:, 1:] > cells[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


class Thumbnails(Protocol):
    """Thumbnails that are read as they are needed, such as an array of them, (n, 32, 32) uint8."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, places: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """(m, 32, 32) uint8: those at ``places``, (m,)."""


def groups(thumbnails: Thumbnails | Sequence[Thumbnail], chosen: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """For each image, the index of the first one in its group of near duplicates (its own where it has none).

    Up to `_FEW` images, every pair is compared. Above that, only pairs that share a bucket of `_Sketches` are, so that
    time grows little faster than their number; see there for what that may miss. Memory is 400 bytes per image; of the
    thumbnails a few thousand are read at a time.

    Args:
        thumbnails: a sequence of (32, 32) uint8, or what gives them by their places.
        chosen: (n,) places of the images; None for all.

    Returns:
        (n,) indices among those that were chosen.
    """
    whole = np.asarray(thumbnails) if isinstance(thumbnails, list | tuple) else cast(Thumbnails, thumbnails)
    places = np.arange(len(whole)) if chosen is None else chosen
    if not len(places):
        return np.zeros(0, np.int64)
    first, alike = _alike(whole, places)
    search = _Search(whole, places[first])
    proposals = search.all_pairs() if len(first) <= _FEW else search.buckets()
    for some in proposals:
        search.judge(*some)
    labels: NDArray[np.int64] = first[search.labels][alike]
    return labels


def first_of(keys: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the first of each set of equal (n,) ``keys``, ascending, and for each key the number of its set."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return first[order], number[inverse]


def _alike(thumbnails: Thumbnails, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`first_of` for thumbnails that are equal in every byte."""
    digests = np.empty(len(places), f"S{_DIGEST}")
    for start, some in _in_blocks(thumbnails, places):
        digests[start : start + len(some)] = [_digest(small) for small in some]
    return first_of(digests)


def _digest(small: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(small.tobytes(), digest_size=_DIGEST).digest()


def _in_blocks(thumbnails: Thumbnails, places: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The thumbnails at ``places`` some at a time, each time with the index of the first."""
    for start in range(0, len(places), _BLOCK):
        yield start, thumbnails[places[start : start + _BLOCK]]


Proposals = tuple[NDArray[np.int64], NDArray[np.int64], int]
"""Pairs (first, second), the first with the lower index and to be turned so."""


class _Search:
    """Near duplicates among ``thumbnails[chosen]``.

    Attributes:
        labels: for each of them the first of its group, as far as it is known.
    """

    def __init__(self, thumbnails: Thumbnails, chosen: NDArray[np.int64]) -> None:
        self.thumbnails = thumbnails
        self.chosen = chosen
        self.labels = np.arange(len(chosen))
        self.hashes = np.empty((8, len(chosen)), np.uint64)
        for start, some in _in_blocks(thumbnails, chosen):
            for index, small in enumerate(some, start):
                self.hashes[:, index] = [difference_hash(_turned(small, turn)) for turn in range(8)]

    def all_pairs(self) -> Iterator[Proposals]:
        """Every pair."""
        for start in range(0, len(self.chosen), _BLOCK):
            seconds = np.arange(start, min(start + _BLOCK, len(self.chosen)))
            for turn in range(8):
                distance = np.bitwise_count(self.hashes[turn][None] ^ self.hashes[0][seconds, None])
                second, first = np.nonzero(distance <= MAX_DISTANCE)
                yield first, seconds[second], turn

    def buckets(self) -> Iterator[Proposals]:
        """The pairs that share a bucket in some table, as long as they are in different groups."""
        sketches = _Sketches(self.thumbnails, self.chosen)
        for positions in sketches.tables():
            base = sketches.sorted_keys(positions, 0)
            keys, order = base >> _INDEX_BITS, (base & _INDEX_MASK).astype(np.int64)
            starts = np.flatnonzero(
                np.diff(keys, prepend=keys[:1] + 1)
            )  # of each bucket; its first has the least index
            sizes = np.diff(starts, append=len(keys))
            yield np.repeat(order[starts], sizes), order, 0  # a burst of equal pictures is one group after this
            for turn in range(8):
                query = sketches.sorted_keys(positions, turn)
                bucket = np.searchsorted(keys[starts], query >> _INDEX_BITS)
                hit = keys[starts][np.minimum(bucket, len(starts) - 1)] == query >> _INDEX_BITS
                bucket, turned = bucket[hit], (query[hit] & _INDEX_MASK).astype(np.int64)
                held = self.labels[order]
                least, most = (ufunc.reduceat(held, starts) for ufunc in (np.minimum, np.maximum))
                open_ = (least[bucket] != self.labels[turned]) | (most[bucket] != self.labels[turned])
                for first, second in _spread(turned[open_], bucket[open_], starts, sizes, order):
                    yield first, second, turn

    def judge(self, first: NDArray[np.int64], second: NDArray[np.int64], turn: int) -> None:
        """Join the groups of those pairs that show the same picture."""
        wanted = (first < second) & (self.labels[first] != self.labels[second])
        first, second = first[wanted], second[wanted]
        near = np.bitwise_count(self.hashes[turn, first] ^ self.hashes[0, second]) <= MAX_DISTANCE
        pairs = np.unique(np.stack([first[near], second[near]]), axis=1)
        for start in range(0, pairs.shape[1], _BLOCK):
            first, second = pairs[:, start : start + _BLOCK]
            same = _same(self._small(first, turn), self._small(second, 0))
            self._join(first[same], second[same])

    def _small(self, indices: NDArray[np.int64], turn: int) -> NDArray[np.uint8]:
        flat = self.thumbnails[self.chosen[indices]].reshape(-1, _SIDE**2)
        turned: NDArray[np.uint8] = flat[:, _PLACES[turn]]
        return turned

    def _join(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        """Give both groups of each pair the lower of their labels."""
        while len(first):
            pair = self.labels[np.stack([first, second])]
            low, high = pair.min(axis=0), pair.max(axis=0)
            differ = low != high
            first, second = first[differ], second[differ]
            lower = np.arange(len(self.labels))
            np.minimum.at(lower, high[differ], low[differ])
            while (lower[lower] != lower).any():
                lower = lower[lower]
            self.labels = lower[self.labels]


def _spread(
    turned: NDArray[np.int64],
    bucket: NDArray[np.int64],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    order: NDArray[np.int64],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Each of ``turned`` with all members of its bucket, so many pairs at a time."""
    ends = np.cumsum(sizes[bucket])
    done = 0
    while done < len(turned):
        taken = int(np.searchsorted(ends, (ends[done - 1] if done else 0) + _PAIRS, "right"))
        part = slice(done, max(taken, done + 1))
        counts = sizes[bucket[part]]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield np.repeat(turned[part], counts), order[np.repeat(starts[bucket[part]], counts) + within]
        done = part.stop


class _Sketches:
    """Random hyperplanes (Charikar 2002): on which side of each a thumbnail lies, a bit per plane.

    Two thumbnails that correlate at .93 agree in .88 of the bits, others in half of them. A table is a choice of bits,
    a bucket what agrees in all of them. A pair at that edge may share none and be missed, the
    more rarely the more alike it is. The planes stand in all eight orientations of a square, so turning a
    thumbnail only permutes its bits. Dot products are of whole numbers: the same on every machine.

    Attributes:
        bits: (_PLANES / 8, n) uint8, of each thumbnail a column, packed.
    """

    def __init__(self, thumbnails: Thumbnails, chosen: NDArray[np.int64]) -> None:
        rng = generator(stream("near duplicates"))
        signs = np.repeat(np.array([1, -1], np.float32), _SIDE**2 // 2)
        drawn = [signs[_deal(rng, len(signs))] for _ in range(_PLANES // 8)]
        planes = [plane[places] for plane in drawn for places in _PLACES]
        matrix = np.stack(planes, axis=1)
        self.bits = np.empty((_PLANES // 8, len(chosen)), np.uint8)
        for start, some in _in_blocks(thumbnails, chosen):
            flat = some.reshape(-1, _SIDE**2).astype(np.float32)
            self.bits[:, start : start + len(some)] = np.packbits(flat @ matrix > 0, axis=1).T
        self._rng = rng

    def tables(self) -> Iterator[NDArray[np.int64]]:
        """The planes of each table."""
        width = min(int(np.log2(self.bits.shape[1])) + _MORE_BITS, _INDEX_BITS)
        agree = (1 - np.arccos(MIN_CORRELATION) / np.pi) ** width
        for _ in range(int(np.ceil(np.log(_MISSED) / np.log(1 - agree)))):
            yield _deal(self._rng, _PLANES)[:width]

    def sorted_keys(self, positions: NDArray[np.int64], turn: int) -> NDArray[np.uint64]:
        """The bucket of each thumbnail, turned so, in the upper half, its index in the lower; sorted."""
        keys = np.zeros(self.bits.shape[1], np.uint64)
        for place in positions // 8 * 8 + _MOVED[turn][positions % 8]:
            keys = keys << np.uint64(1) | (self.bits[place // 8] >> np.uint8(7 - place % 8) & np.uint8(1))
        return np.sort(keys << _INDEX_BITS | np.arange(len(keys), dtype=np.uint64))


def _turned(small: NDArray[Any], turn: int) -> NDArray[Any]:
    """One of the eight orientations of a square: a quarter turn each, from 4 on mirrored."""
    return np.ascontiguousarray(np.rot90(small if turn < 4 else small[:, ::-1], turn % 4))


def _deal(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """A permutation that is the same for all versions of NumPy."""
    return np.argsort(rng.random(count), kind="stable")


def _same(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which rows of (m, 1024) uint8 each show the same picture; whole numbers below 2**53 throughout."""
    a, b = (
        small - (small.sum(axis=1) // small.shape[1])[:, None]
        for small in (first.astype(np.int64), second.astype(np.int64))
    )
    cross, power = (a * b).sum(axis=1), (a * a).sum(axis=1) * (b * b).sum(axis=1)
    alike = (cross > 0) & (cross * cross >= MIN_CORRELATION**2 * power)
    return np.where(power == 0, (first == second).all(axis=1), alike)


_PLACES = [_turned(np.arange(_SIDE**2).reshape(_SIDE, _SIDE), turn).ravel() for turn in range(8)]
"""Where each pixel of a turned thumbnail comes from."""

_MOVED = np.array(
    [
        [next(k for k in range(8) if (_PLACES[k][_PLACES[turn]] == _PLACES[plane]).all()) for plane in range(8)]
        for turn in range(8)
    ]
)
"""Bit ``plane`` of a picture that is turned is bit ``_MOVED[turn, plane]`` of the picture as it is."""
