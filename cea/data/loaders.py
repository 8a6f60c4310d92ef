"""From shards to batches: batch k is a pure function of (seed, k, rank), whatever the workers do.

The sampler decides everything — which sample, which crop, which flips — and hands the dataset complete orders, so a
run that starts at step k sees exactly what an uninterrupted run would see from step k on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from cea.data.labels import label_maps
from cea.data.reading import read_labelled, read_pair, read_severity
from cea.data.shards import Rows, index_parts, is_rendered
from cea.data.summary import LOCAL, DamagedError, Place
from cea.data.tiles import tiles_folder
from cea.errors import DataError
from cea.rng import generator, stream
from cea.types import ImageU8

Patch = tuple[Tensor, ...]
"""Degraded and clean, (3, h, w) uint8 each; where labels are asked for also these, (K, h, w) int16."""


@dataclass(frozen=True)
class PatchSpec:
    """One patch to be cut.

    Attributes:
        group: index of the shard folder (one per recipe).
        row: index of the sample in that folder.
        top, left: position of the crop, each in [0, 1) of the room there is.
        flips: upside down, left to right, transposed.
        greyness: how far colours go towards grey, 1 all the way.
        tone: (contrast, level) if a nearly clean pair is to look dull or dark (see `toned`).
        side: height and width in pixels; None for those of the data set.
    """

    group: int
    row: int
    top: float
    left: float
    flips: tuple[bool, bool, bool]
    greyness: float = 0.0
    tone: tuple[float, float] | None = None
    side: int | None = None


class ShardPairs:
    """Random access to the (clean, degraded) pairs of several shard folders, with decoded pixels kept in memory.

    Args:
        folders: one folder per recipe, each with tars and an index.
        cache_bytes: keep decoded images until this many bytes are held, in each process that reads.
        place: where their tars are.
        skip: whether `replaced` may take other samples for those of a shard that ``place`` cannot give whole.

    Attributes:
        folders: as given.
        rows: of the index of each.

    Raises:
        DataError: a folder that is missing, damaged or empty.
    """

    def __init__(
        self, folders: Sequence[Path], cache_bytes: int = 0, *, place: Place = LOCAL, skip: bool = False
    ) -> None:
        if not folders:
            raise DataError("no shard folders", expected="at least one", remedy="name the recipes to train on")
        self.folders = list(folders)
        self.rows = [Rows(index_parts(folder, place)) for folder in folders]
        for folder, rows in zip(self.folders, self.rows, strict=True):
            if not len(rows):
                raise DataError(f"{folder}: holds no samples", expected="at least one", remedy="draw more variants")
        self._place = place
        self._lost = [torch.zeros(len(rows), dtype=torch.bool).share_memory_() for rows in self.rows] if skip else None
        self._room = cache_bytes
        self._kept: dict[tuple[int, int], tuple[ImageU8, ImageU8]] = {}
        self._kept_bands: dict[tuple[int, int], NDArray[np.uint8] | None] = {}
        self._rendered: tuple[tuple[int, int], NDArray[np.uint8] | None] | None = None

    def pair(self, group: int, row: int) -> tuple[ImageU8, ImageU8]:
        """Clean and degraded, (H, W, 3) uint8 each; not to be written to."""
        pair = self._kept.get((group, row))
        if pair is None:
            pair = self._read(group, row)
            size = pair[0].nbytes + pair[1].nbytes
            if size <= self._room:
                self._room -= size
                self._kept[group, row] = pair
        return pair

    def severity(self, group: int, row: int) -> NDArray[np.uint8] | None:
        """(n, H, W) uint8, one band per component of the sample; None where unknown; not to be written to."""
        place = group, row
        if place in self._kept_bands:
            return self._kept_bands[place]
        if self._rendered is not None and self._rendered[0] == place:
            bands = self._rendered[1]
        else:
            bands = read_severity(self.folders[group], self.rows[group][row], self._place)
        size = 0 if bands is None else bands.nbytes
        if size <= self._room:
            self._room -= size
            self._kept_bands[place] = bands
        return bands

    def _read(self, group: int, row: int) -> tuple[ImageU8, ImageU8]:
        folder, facts = self.folders[group], self.rows[group][row]
        if not is_rendered(facts):
            return read_pair(folder, facts, self._place)
        clean, degraded, bands = read_labelled(folder, facts, self._place)
        self._rendered = (group, row), bands  # at hand for who asks for the severity next
        return clean, degraded

    def replaced(self, order: PatchSpec) -> PatchSpec:
        """``order``, or where its shard was given up, the same of the next sample of that folder.

        Raises:
            DataError: none is left.
        """
        if self._lost is None or not self._lost[order.group][order.row]:
            return order
        whole = np.flatnonzero(~self._lost[order.group].numpy())
        if not len(whole):
            raise DataError(
                f"{self.folders[order.group]}: all shards are missing or damaged",
                expected="at least one whole shard",
                remedy="upload the shards again",
            )
        return replace(order, row=int(whole[np.searchsorted(whole, order.row) % len(whole)]))

    def give_up(self, error: DamagedError) -> None:
        """Pass over all samples of the tar that ``error`` speaks of, in every process that reads, and say so.

        Raises:
            DamagedError: the same, where that is not allowed.
        """
        if self._lost is None or error.tar is None:
            raise error
        logging.warning("%s; left out", error.what)
        for folder, rows, lost in zip(self.folders, self.rows, self._lost, strict=True):
            for column, where in (("tar", folder), ("tile_tar", tiles_folder(folder))):
                if error.tar.parent == where:
                    lost |= torch.from_numpy(rows.equal(column, error.tar.name))

    def given_up(self) -> dict[str, int]:
        """``<split>/<recipe>`` -> samples that are passed over, of each folder where there are some."""
        names = [f"{folder.parent.name}/{folder.name}" for folder in self.folders]
        counts = zip(names, (int(lost.sum()) for lost in self._lost or ()), strict=False)
        return {name: count for name, count in counts if count}


class PatchDataset(Dataset[Patch]):
    """Patches of ``patch`` x ``patch`` pixels as the sampler orders them; smaller images are repeated at the edge.

    Args:
        pairs: what they are cut from.
        patch: height and width in pixels, of orders that do not say their own.
        severity: components whose labels are cut with them (`cea.data.labels`); none: no severity map is read.
    """

    def __init__(self, pairs: ShardPairs, patch: int, severity: Sequence[str] = ()) -> None:
        self.pairs = pairs
        self.patch = patch
        self.severity = tuple(severity)

    def __getitem__(self, order: PatchSpec) -> Patch:
        """Degraded and clean, (3, side, side) uint8, and labels (K, side, side) int16 where they are asked for."""
        while True:
            order = self.pairs.replaced(order)
            try:
                return self._patch(order)
            except DamagedError as error:
                self.pairs.give_up(error)

    def _patch(self, order: PatchSpec) -> Patch:
        clean, degraded = (self._crop(image, order) for image in self.pairs.pair(order.group, order.row))
        if order.tone is not None:
            clean, degraded = toned(clean, degraded, *order.tone)
        images = (greyed(image, order.greyness) if order.greyness else image for image in (degraded, clean))
        labels = (self._labels(order, clean.shape[:2]),) if self.severity else ()
        return tuple(as_tensor(_flip(patch, order.flips)) for patch in (*images, *labels))

    def _labels(self, order: PatchSpec, size: tuple[int, int]) -> NDArray[np.int16]:
        bands = self.pairs.severity(order.group, order.row)
        if bands is not None:
            bands = self._crop(bands.transpose(1, 2, 0), order).transpose(2, 0, 1)
        return label_maps(bands, self.pairs.rows[order.group][order.row]["components"], self.severity, size)

    def _crop(self, image: ImageU8, order: PatchSpec) -> ImageU8:
        side = order.side or self.patch
        image = _at_least(image, side)
        top = int(order.top * (image.shape[0] - side + 1))
        left = int(order.left * (image.shape[1] - side + 1))
        return image[top : top + side, left : left + side]


class PatchStage(NamedTuple):
    """The batches from one step on.

    Attributes:
        first: this step.
        batch: patches per batch and rank.
        side: of each patch, in pixels.
    """

    first: int
    batch: int
    side: int


@dataclass(frozen=True)
class PatchSequence:
    """An endless, seeded sequence of patches, balanced over the folders, from which batches are cut.

    Every round of R patches holds one of each of the R folders, in an order of its own; within a folder the samples
    are dealt like a deck that is shuffled anew each time it runs out, so all are seen equally often.

    Attributes:
        sizes: samples per folder.
        batch: patches per batch and rank.
        seed: of the whole sequence.
        rank, world: which share of the sequence this process takes; batch by batch, the ranks take turns.
        transpose: also swap rows and columns at random.
        grey_share: share of the patches that lose colour, both images alike: half of them all of it.
        tone_share: share of the patches that lose contrast where they are nearly clean (see `toned`).
        stages: batches whose size changes on the way, by rising first steps from 0 on; none: ``batch`` throughout.
    """

    sizes: tuple[int, ...]
    batch: int
    seed: int
    rank: int = 0
    world: int = 1
    transpose: bool = False
    grey_share: float = 0.0
    tone_share: float = 0.0
    stages: tuple[PatchStage, ...] = ()

    def orders(self, step: int) -> list[PatchSpec]:
        """Batch number ``step``: a pure function of the sequence and ``step``."""
        begun = [stage for stage in self.stages if stage.first <= step]
        if not begun:
            first = (step * self.world + self.rank) * self.batch
            return [self.order(position) for position in range(first, first + self.batch)]
        *before, now = begun
        dealt = sum((end.first - start.first) * start.batch for start, end in zip(before, begun[1:], strict=True))
        first = (dealt + (step - now.first) * now.batch) * self.world + self.rank * now.batch
        return [replace(self.order(position), side=now.side) for position in range(first, first + now.batch)]

    def order(self, position: int) -> PatchSpec:
        """The patch at ``position`` of the sequence that all ranks share."""
        turn, index = divmod(position, len(self.sizes))
        group = int(_shuffled(len(self.sizes), stream(self.seed, "round", turn))[index])
        deck, card = divmod(turn, self.sizes[group])
        row = int(_shuffled(self.sizes[group], stream(self.seed, "deck", group, deck))[card])
        top, left, *flips = (float(draw) for draw in generator(stream(self.seed, "crop", position)).random(5))
        up, across, transposed = (flip < 0.5 for flip in flips)
        flipped = (up, across, transposed and self.transpose)
        return PatchSpec(group, row, top, left, flipped, self._greyness(position), self._tone(position))

    def _greyness(self, position: int) -> float:
        if not self.grey_share:
            return 0.0
        chance, amount = generator(stream(self.seed, "grey", position)).random(2)
        if chance >= self.grey_share:
            return 0.0
        return 1.0 if chance < self.grey_share / 2 else float(amount)

    def _tone(self, position: int) -> tuple[float, float] | None:
        """A contrast between 1/20 and 1, small ones as often as large ones; half of the levels are black."""
        if not self.tone_share:
            return None
        chance, contrast, level = (float(draw) for draw in generator(stream(self.seed, "tone", position)).random(3))
        return (20.0**-contrast, max(0.0, 2 * level - 1)) if chance < self.tone_share else None


class StepSampler(Sampler[list[PatchSpec]]):
    """The batches of ``sequence`` with the numbers in ``steps``, each cut into ``parts`` equal parts."""

    def __init__(self, sequence: PatchSequence, steps: range, parts: int = 1) -> None:
        assert all(batch % parts == 0 for batch in (sequence.batch, *(stage.batch for stage in sequence.stages)))
        self.sequence = sequence
        self.steps = steps
        self.parts = parts

    def __len__(self) -> int:
        return len(self.steps) * self.parts

    def __iter__(self) -> Iterator[list[PatchSpec]]:
        for step in self.steps:
            orders = self.sequence.orders(step)
            size = len(orders) // self.parts
            yield from (orders[start : start + size] for start in range(0, len(orders), size))


@lru_cache(maxsize=256)
def _shuffled(count: int, seed: int) -> NDArray[np.int64]:
    return generator(seed).permutation(count)


def centre_crop(image: ImageU8, size: int) -> ImageU8:
    """The middle ``size`` x ``size`` pixels, or all there are."""
    top, left = ((length - min(length, size)) // 2 for length in image.shape[:2])
    return image[top : top + size, left : left + size]


def as_tensor(image: NDArray[Any]) -> Tensor:
    """(H, W, C) to a (C, H, W) tensor with its own memory (a patch must not keep its tile alive)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def greyed(image: ImageU8, amount: float) -> ImageU8:
    """Colours moved by ``amount`` in [0, 1] towards their luma (ITU-R BT.601); (H, W, 3) uint8."""
    luma = (image @ np.array([77, 150, 29], np.uint32) + 128) >> 8
    if amount >= 1:
        return np.repeat(luma[..., None], 3, axis=2).astype(np.uint8)
    mixed = image + np.float32(amount) * (luma[..., None].astype(np.float32) - image)
    return np.rint(mixed).astype(np.uint8)


_NEARLY_CLEAN = 4.0
"""Mean absolute difference of a nearly clean pair, in grey levels, at most."""


def toned(clean: ImageU8, degraded: ImageU8, contrast: float, level: float) -> tuple[ImageU8, ImageU8]:
    """A nearly clean pair with less contrast, so that dark and dull scenes are not taken for degraded ones.

    The clean image becomes level + contrast (clean - level), and what was wrong with the degraded one stays: noise in a
    dark scene is no smaller for that. Pairs that differ by more than four grey levels in the mean are left as they are.

    Args:
        clean, degraded: (H, W, 3) uint8.
        contrast: in [0, 1]; 1 leaves both images.
        level: in [0, 1] of full scale, towards which all pixels move; 0 is black.
    """
    wrong = degraded.astype(np.int16) - clean
    if np.abs(wrong).mean() > _NEARLY_CLEAN:
        return clean, degraded
    centre = np.float32(255 * level)
    dull = np.rint(centre + np.float32(contrast) * (clean.astype(np.float32) - centre)).astype(np.uint8)
    return dull, np.clip(dull + wrong, 0, 255).astype(np.uint8)


def _at_least(image: ImageU8, size: int) -> ImageU8:
    missing = [max(0, size - length) for length in image.shape[:2]]
    return np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="edge") if any(missing) else image


def _flip(image: NDArray[Any], flips: tuple[bool, bool, bool]) -> NDArray[Any]:
    up, across, transposed = flips
    image = image[::-1] if up else image
    image = image[:, ::-1] if across else image
    return image.transpose(1, 0, 2) if transposed else image
