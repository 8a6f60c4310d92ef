"""From sources to the table of clean images: everything is looked at once, and what cannot be used is named."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cea.config import Config, parse
from cea.data import png
from cea.data.choosing import deal, held_out_doubles, same_pixels
from cea.data.clean import SCHEMA, TABLE
from cea.data.cluster import Died, RayConfig, at_home, code_digest, connected, tasks
from cea.data.dead_leaves.images import LeavesConfig
from cea.data.duplicates import Thumbnail, difference_hash, groups, thumbnail
from cea.data.sources.base import Item, Loaded, Source
from cea.data.sources.leaves import leaves
from cea.data.sources.registry import SOURCES
from cea.data.splits import SplitConfig
from cea.data.taken import RANKS, Taken
from cea.data.workers import results
from cea.errors import DataError, ImageError
from cea.io.folders import atomic_folder
from cea.io.images import pixel_sha256, reduced, write_bytes, write_image
from cea.io.sequences import in_parts
from cea.io.tables import write_rows
from cea.levels import to_uint8
from cea.types import Split

_LONGEST_STEM = 32


class IngestConfig(Config):
    """Which clean images there are, and how they are split."""

    source: str = "bundled"
    """Where photographs come from: bundled, folder, or a registered source."""

    sources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of the sources by name; those of the chosen one are used."""

    leaves: LeavesConfig = Field(default_factory=LeavesConfig)
    """Generated dead leaves, added to the photographs of any source."""

    split: SplitConfig = Field(default_factory=SplitConfig)
    """Shares of the photographs."""

    min_side: int = Field(default=64, ge=16)
    """Images with a shorter side, in pixels, are unusable."""

    max_side: int = Field(default=1024, ge=64)
    """Images with a longer side, in pixels, are reduced to it by area averaging."""

    unusable: Literal["skip", "refuse"] = "skip"
    """Broken and tiny images: left out by name, or the whole ingest refused."""


@dataclass(frozen=True)
class Report:
    """What ingest did, without the table: its rows are in the file.

    Attributes:
        images: how many there are, by split and kind.
        refused: (name, reason) of everything left out.
        grouped: names of images that show the same picture and therefore share a split, group by group.
    """

    images: Mapping[tuple[Split, str], int]
    refused: list[tuple[str, str]]
    grouped: list[list[str]]


@dataclass(frozen=True)
class _Usable:
    """A usable image, written; ``row`` is what is known of it by itself: columns of the table, and its name."""

    row: dict[str, Any]
    small: Thumbnail
    split: Split | None


@dataclass(frozen=True)
class _Refused:
    """An image that cannot be used, and why."""

    name: str
    reason: str


_Numbered = tuple[int, Item]
"""An item, and its place in the order of the source."""

_Outcome = tuple[int, _Usable | _Refused]


@dataclass(frozen=True)
class _Batch:
    """Items for one task on a cluster.

    Attributes:
        items: in their order.
        folder: as every node sees it.
        config: what is usable.
        home: the project's folder.
        code: digest of the driver's code.
    """

    items: tuple[_Numbered, ...]
    folder: Path
    config: IngestConfig
    home: Path
    code: str


_PER_TASK = 16
"""Items of one task on a cluster: about a second of decoding for 10 ms of scheduling."""


def ingest(folder: Path, config: IngestConfig, *, workers: int = 1, cluster: RayConfig | None = None) -> Report:
    """Read, check and write all clean images into ``folder``, which is replaced as a whole.

    Writes ``images/<id>.png``, ``depth/<id>.png`` where depth is known, the table and ``ingest.json`` (what was left
    out and why). Bytes depend neither on ``workers`` nor on ``cluster`` nor on earlier runs. On a cluster, an image
    that ends its worker every time is unusable like one that does not decode.

    Args:
        folder: e.g. ``data/clean``; with ``cluster`` it and the source have to be where every node sees them.
        config: the section ``ingest`` of params.yaml.
        workers: processes that read, or processors of a cluster that is started for this.
        cluster: read on this Ray cluster; None: in processes of this machine.

    Raises:
        ConfigError: an unknown source or setting.
        DataError: a source is missing or empty, nothing usable is in it, something unusable is and
            ``unusable`` says refuse, too few photographs to split, or the disk is full.
    """
    items = enumerate(chain(_source(config).items(), leaves(config.leaves)))
    with atomic_folder(folder) as making, Taken(making) as taken:
        if cluster is None:
            refused = _keep(results(partial(_take, making, config), items, workers), taken)
        else:
            with connected(cluster, what="shard.engine: ray", workers=workers):
                refused = _keep(_on_cluster(items, making.resolve(), config, cluster), taken)
        _check(taken.photographs, refused, config)
        return write_chosen(making, config, taken, refused)


def check_sources(config: IngestConfig, root: Path, *, photographs: bool = True) -> None:
    """Refuse what is wrong with the chosen source and with the folder that DVC watches, before anything has run.

    Without ``photographs`` they may be missing: nothing that follows ingest reads them.

    Raises:
        ConfigError: an unknown source or setting.
        DataError: ``ingest.sources.folder.path`` is no folder below ``root``, nor an absolute one; no photographs.
    """
    source = _source(config)
    path = config.sources.get("folder", {}).get("path")
    if isinstance(path, str) and not (root / path).is_dir():
        raise DataError(
            f"ingest.sources.folder.path = {path!r}: no such folder",
            expected="a folder, in full or below the project's (~ is not expanded): DVC watches it",
            remedy="correct the path, or set it to data/raw",
        )
    if photographs:
        source.check(root)


def _source(config: IngestConfig) -> Source[Any]:
    for name in config.sources:
        if name not in SOURCES:
            SOURCES[name]  # raises, with the nearest name
    kind = SOURCES[config.source]
    return kind(parse(kind.Config, config.sources.get(config.source), f"ingest.sources.{config.source}"))


def _take(folder: Path, config: IngestConfig, numbered: _Numbered) -> _Outcome:
    """Load one item and write its pixels; a pure function of the item apart from the files written."""
    number, item = numbered
    try:
        return number, _written(folder, item, _fitted(item.load(), config))
    except ImageError as error:
        return number, _Refused(item.name, str(error).removeprefix(f"{item.name}: "))


def _written(folder: Path, item: Item, loaded: Loaded) -> _Usable:
    rgb = to_uint8(loaded.rgb)
    sha256, small = pixel_sha256(rgb), thumbnail(rgb)
    name = f"{_stem(item.name)}-{sha256[:10]}"
    files = {"file": f"images/{name}.png", "depth_file": None}
    write_bytes(folder / f"images/{name}.png", png.encode(rgb), durable=False)
    if loaded.inverse_depth is not None:
        files["depth_file"] = f"depth/{name}.png"
        write_image(folder / f"depth/{name}.png", loaded.inverse_depth, durable=False)
    row = {
        "id": name,
        "sha256": sha256,
        **files,
        "height": rgb.shape[0],
        "width": rgb.shape[1],
        "kind": item.kind,
        "source": item.source,
        "licence": item.licence,
        "phash": f"{difference_hash(small):016x}",
        "name": item.name,
    }
    return _Usable(row, small, item.split)


def _on_cluster(
    items: Iterable[_Numbered], folder: Path, config: IngestConfig, cluster: RayConfig
) -> Iterator[_Outcome]:
    """`_take` of all items by tasks of a few, as they end; those that end their worker are found one by one."""
    home = Path.cwd()
    common = folder, config, home, code_digest(home)
    batches = (_Batch(tuple(some), *common) for some in in_parts(items, _PER_TASK))
    suspects: list[_Batch] = []
    for batch, outcome in tasks(_take_batch, batches, cluster):
        if isinstance(outcome, Died):
            suspects.append(batch)
        else:
            yield from outcome
    alone = (_Batch((item,), *common) for batch in suspects for item in batch.items)
    for one, outcome in tasks(_take_batch, alone, cluster):
        if isinstance(outcome, Died):
            ((number, item),) = one.items
            reason = f"it ended its worker in each of {outcome.tries} tries: {outcome.cause}"
            yield number, _Refused(item.name, reason)
        else:
            yield from outcome


def _take_batch(batch: _Batch) -> list[_Outcome]:
    """In a worker of a cluster."""
    at_home(batch.home, batch.code)
    return [_take(batch.folder, batch.config, item) for item in batch.items]


def _fitted(loaded: Loaded, config: IngestConfig) -> Loaded:
    """Refuse what is too small, reduce what is too large."""
    height, width = loaded.rgb.shape[:2]
    if min(height, width) < config.min_side:
        raise ImageError(
            f"{width}x{height} pixels",
            expected=f"at least {config.min_side} on the shorter side",
            remedy="use a larger version or lower ingest.min_side",
        )
    depth = None if loaded.inverse_depth is None else reduced(loaded.inverse_depth, config.max_side)
    return Loaded(reduced(loaded.rgb, config.max_side), depth)


def _stem(name: str) -> str:
    """A file name's stem in lower-case ASCII letters, digits, - and _ ; dots would confuse WebDataset."""
    plain = unicodedata.normalize("NFKD", Path(name).stem).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-")[:_LONGEST_STEM].strip("-") or "image"


def _keep(outcomes: Iterable[_Outcome], taken: Taken) -> list[_Refused]:
    """Put what is usable into ``taken``, as it comes; the others, in the order of the source."""
    refused: list[tuple[int, _Refused]] = []
    for number, each in outcomes:
        if isinstance(each, _Refused):
            refused.append((number, each))
        else:
            taken.add(number, each.row, each.small, each.split)
    return [each for _, each in sorted(refused, key=itemgetter(0))]


def _check(photographs: int, refused: Sequence[_Refused], config: IngestConfig) -> None:
    if refused and (config.unusable == "refuse" or not photographs):
        named = "; ".join(f"{each.name} ({each.reason})" for each in refused[:5])
        more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
        raise DataError(
            f"source {config.source!r}: {len(refused)} of {len(refused) + photographs} images unusable: {named}{more}",
            expected="usable images" if photographs else "at least one usable image",
            remedy="replace or remove these"
            + (", or set ingest.unusable to skip to leave them out" if photographs else ""),
        )


def write_chosen(folder: Path, config: IngestConfig, taken: Taken, refused: Sequence[_Refused] = ()) -> Report:
    """Choose from all images that were taken; delete the files of the others, write the table and ``ingest.json``.

    In memory are some arrays of numbers, and the names of what is left out and of near duplicates.

    Args:
        folder: that holds the images' files.
        config: how they are split.
        taken: all images.
        refused: what could not be taken.

    Raises:
        DataError: too few photographs to split, or the disk is full.
    """
    facts, looks, left_out = _choose(taken, folder)
    report = _write(folder, config, facts, looks, taken, [*refused, *left_out])
    write_bytes(folder / "ingest.json", _as_json(report))
    return report


def _choose(taken: Taken, folder: Path) -> tuple[NDArray[Any], NDArray[np.int64], list[_Refused]]:
    """What stays and its groups of near duplicates, both by id, and what does not: its files are deleted.

    Of images with the same pixels the one stays that was held out on purpose, else the first. What shows nearly the
    same as one that is held out on purpose, and is to go elsewhere, goes; then it joins nobody to a group.
    """
    facts = taken.facts()
    looks = groups(taken, facts["place"])
    order = np.argsort(facts["rank"], kind="stable")
    facts, looks = facts[order], looks[order]
    twins = same_pixels(facts)
    stays = twins == np.arange(len(facts))
    left_out = _left_out(facts[~stays], facts[twins[~stays]], taken, folder, "the same pixels as {}")
    facts, looks = facts[stays], looks[stays]
    doubles = held_out_doubles(facts, looks)
    goes = doubles >= 0
    if goes.any():
        reason = "nearly the same as {}, which is held out"
        left_out += _left_out(facts[goes], facts[doubles[goes]], taken, folder, reason)
        facts = facts[~goes]
        looks = groups(taken, facts["place"])
    order = taken.by_id(facts)
    return facts[order], looks[order], left_out


def _left_out(images: NDArray[Any], kept: NDArray[Any], taken: Taken, folder: Path, reason: str) -> list[_Refused]:
    """Remove the files of images, unless they are those of the one that is kept in its place."""
    refused = []
    for image, other in zip(taken.rows(images), taken.rows(kept), strict=True):
        refused.append(_Refused(image["name"], reason.format(other["name"])))
        for file in {image["file"], image["depth_file"]} - {None, other["file"], other["depth_file"]}:
            (folder / file).unlink(missing_ok=True)
    return refused


def _write(
    folder: Path,
    config: IngestConfig,
    facts: NDArray[Any],
    looks: NDArray[np.int64],
    taken: Taken,
    refused: Sequence[_Refused],
) -> Report:
    """Write the table of ``facts``, which are by id, some thousand rows at a time."""
    firsts, ranks = deal(facts, looks, config.split, lambda index: str(taken.row(facts["place"][index])["sha256"]))
    images: Counter[tuple[Split, str]] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for index, row in enumerate(taken.rows(facts)):
            first, split = firsts[index], RANKS[ranks[index]]
            group = row["id"] if first == index else taken.row(facts["place"][first])["id"]
            images[split, row["kind"]] += 1
            yield {name: row.get(name) for name in SCHEMA} | {"split": split, "group": group}

    write_rows(folder / TABLE, rows(), SCHEMA)
    several = np.flatnonzero(np.bincount(firsts, minlength=len(facts))[firsts] > 1)
    several = several[np.argsort(firsts[several], kind="stable")]
    named = ((firsts[index], taken.row(facts["place"][index])["name"]) for index in several)
    grouped = [[name for _, name in group] for _, group in groupby(named, key=itemgetter(0))]
    return Report(dict(sorted(images.items())), [(each.name, each.reason) for each in refused], grouped)


def _as_json(report: Report) -> bytes:
    facts: Mapping[str, Any] = {
        "images": {f"{split}/{kind}": count for (split, kind), count in report.images.items()},
        "refused": dict(report.refused),
        "near_duplicates": report.grouped,
    }
    return (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode()
