"""From sources to the table of clean images: everything is looked at once, and what cannot be used is named."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

import numpy as np
import polars as pl
from joblib import Parallel, delayed
from numpy.typing import NDArray
from pydantic import Field

from cea.config import Config, parse
from cea.data import png
from cea.data.clean import SCHEMA, TABLE
from cea.data.cluster import Died, RayConfig, at_home, code_digest, connected, tasks
from cea.data.dead_leaves.images import LeavesConfig
from cea.data.duplicates import THUMBNAIL, Thumbnail, difference_hash, groups, thumbnail
from cea.data.sources.base import Item, Loaded, Source
from cea.data.sources.leaves import leaves
from cea.data.sources.registry import SOURCES
from cea.data.splits import SplitConfig, assign
from cea.errors import DataError, ImageError, InputError
from cea.io.folders import atomic_folder
from cea.io.images import pixel_sha256, reduced, write_bytes, write_image
from cea.io.tables import as_table, write_table
from cea.levels import to_uint8
from cea.types import Split

_LONGEST_STEM = 32

_TAKEN: dict[str, Any] = {
    **{name: kind for name, kind in SCHEMA.items() if name not in ("split", "group")},
    "name": pl.String,
    "asked": pl.String,
}
"""What is known of an image by itself: columns of the table, how messages call it, the split that its source asks
for."""


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
    """What ingest did.

    Attributes:
        table: the table as written.
        refused: (name, reason) of everything left out.
        grouped: names of images that show the same picture and therefore share a split, group by group.
    """

    table: pl.DataFrame
    refused: list[tuple[str, str]]
    grouped: list[list[str]]


@dataclass(frozen=True)
class _Taken:
    """A usable image, written; ``row`` is its row of the table as far as it is known by itself."""

    name: str
    row: dict[str, Any]
    small: Thumbnail
    split: Split | None


@dataclass(frozen=True)
class _Refused:
    """An image that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class _Batch:
    """Items for one task on a cluster.

    Attributes:
        first: place of the first among all items.
        items: in their order.
        folder: as every node sees it.
        config: what is usable.
        home: the project's folder.
        code: digest of the driver's code.
    """

    first: int
    items: tuple[Item, ...]
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
    items = [*_source(config).items(), *leaves(config.leaves)]
    with atomic_folder(folder) as partial:
        if cluster is None:
            looked_at: Iterable[_Taken | _Refused] = Parallel(n_jobs=workers, return_as="generator")(
                delayed(_take)(item, partial, config) for item in items
            )
        else:
            with connected(cluster, what="shard.engine: ray", workers=workers):
                looked_at = _on_cluster(items, partial.resolve(), config, cluster)
        taken, thumbnails, refused = _sort_out(looked_at, partial)
        _check(taken, refused, config)
        taken = taken.with_columns(look=groups(thumbnails), number=pl.int_range(len(taken)))
        taken, twins = _without_twins(taken, partial)
        taken, leaking = _without_leaks(taken, thumbnails, partial)
        table, grouped = _table(taken, config)
        report = Report(table, [(each.name, each.reason) for each in refused + twins + leaking], grouped)
        write_table(partial / TABLE, table)
        write_bytes(partial / "ingest.json", _as_json(report))
    return report


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


def _take(item: Item, folder: Path, config: IngestConfig) -> _Taken | _Refused:
    """Load one item and write its pixels; a pure function of the item apart from the files written."""
    try:
        loaded = _fitted(item.load(), config)
    except ImageError as error:
        return _Refused(item.name, _reason(item, error))
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
    }
    return _Taken(item.name, row, small, item.split)


def _on_cluster(
    items: Sequence[Item], folder: Path, config: IngestConfig, cluster: RayConfig
) -> list[_Taken | _Refused]:
    """`_take` of all items, in their order, by tasks of a few; those that end their worker are found one by one."""
    home = Path.cwd()
    common = folder, config, home, code_digest(home)
    batches = (
        _Batch(first, tuple(items[first : first + _PER_TASK]), *common) for first in range(0, len(items), _PER_TASK)
    )
    found: dict[int, _Taken | _Refused] = {}
    suspects: list[_Batch] = []
    for batch, outcome in tasks(_take_batch, batches, cluster):
        if isinstance(outcome, Died):
            suspects.append(batch)
        else:
            found.update(enumerate(outcome, batch.first))
    alone = (
        _Batch(number, (item,), *common) for batch in suspects for number, item in enumerate(batch.items, batch.first)
    )
    for one, outcome in tasks(_take_batch, alone, cluster):
        if isinstance(outcome, Died):
            reason = f"it ended its worker in each of {outcome.tries} tries: {outcome.cause}"
            found[one.first] = _Refused(one.items[0].name, reason)
        else:
            found[one.first] = outcome[0]
    return [found[number] for number in range(len(items))]


def _take_batch(batch: _Batch) -> list[_Taken | _Refused]:
    """In a worker of a cluster."""
    at_home(batch.home, batch.code)
    return [_take(item, batch.folder, batch.config) for item in batch.items]


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


def _reason(item: Item, error: InputError) -> str:
    return str(error).removeprefix(f"{item.name}: ")


def _stem(name: str) -> str:
    """A file name's stem in lower-case ASCII letters, digits, - and _ ; dots would confuse WebDataset."""
    plain = unicodedata.normalize("NFKD", Path(name).stem).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-")[:_LONGEST_STEM].strip("-") or "image"


def _sort_out(
    looked_at: Iterable[_Taken | _Refused], folder: Path
) -> tuple[pl.DataFrame, NDArray[np.uint8], list[_Refused]]:
    """What was taken as a table of `_TAKEN`, its thumbnails, (n, 32, 32), in a nameless file, and what was not."""
    refused: list[_Refused] = []
    with TemporaryFile(dir=folder) as file:

        def rows() -> Iterator[dict[str, Any]]:
            for each in looked_at:
                if isinstance(each, _Refused):
                    refused.append(each)
                else:
                    file.write(each.small.tobytes())
                    yield {**each.row, "name": each.name, "asked": each.split}

        taken = as_table(rows(), _TAKEN)
        file.flush()
        shape = (len(taken), *THUMBNAIL)
        thumbnails = np.memmap(file, np.uint8, "r", shape=shape) if len(taken) else np.empty(shape, np.uint8)
    return taken, thumbnails, refused


def _check(taken: pl.DataFrame, refused: Sequence[_Refused], config: IngestConfig) -> None:
    photographs = int((taken["kind"] == "photograph").sum())
    if refused and (config.unusable == "refuse" or not photographs):
        named = "; ".join(f"{each.name} ({each.reason})" for each in refused[:5])
        more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
        raise DataError(
            f"source {config.source!r}: {len(refused)} of {len(refused) + photographs} images unusable: {named}{more}",
            expected="usable images" if photographs else "at least one usable image",
            remedy="replace or remove these"
            + (", or set ingest.unusable to skip to leave them out" if photographs else ""),
        )


def _without_twins(taken: pl.DataFrame, folder: Path) -> tuple[pl.DataFrame, list[_Refused]]:
    """Leave out, and delete, images whose pixels are those of an earlier one; what stays, by `_RANK`."""
    taken = taken.sort(pl.col("asked").replace_strict(_RANK, default=len(_RANK)), maintain_order=True)
    first = taken.unique("sha256", keep="first", maintain_order=True)
    twins = taken.filter(~pl.col("sha256").is_first_distinct())
    twins = twins.join(_kept(first, "sha256"), on="sha256", maintain_order="left")
    return first, _left_out(twins, folder, "the same pixels as {}")


_RANK: Mapping[Split, int] = {"test": 0, "val": 1, "train": 2}
"""Which of two equal images stays: the one that was held out on purpose; after these what is free."""


def _without_leaks(
    taken: pl.DataFrame, thumbnails: NDArray[np.uint8], folder: Path
) -> tuple[pl.DataFrame, list[_Refused]]:
    """Leave out, and delete, images that show nearly the same as one that is held out on purpose, on another side."""
    held_out = pl.col("asked").is_in(["val", "test"])
    if taken.filter(held_out, kind="photograph").is_empty():
        return taken, []
    best = taken.unique("look", keep="first", maintain_order=True).filter(held_out)
    beside = taken.join(_kept(best, "look"), on="look", how="left", maintain_order="left")
    leaks = pl.col("kept_asked").is_not_null() & pl.col("asked").ne_missing(pl.col("kept_asked"))
    leaking = beside.filter(leaks)
    if leaking.is_empty():
        return taken, []
    taken = beside.filter(~leaks).select(taken.columns)
    looks = groups(thumbnails[taken["number"].to_numpy()])  # one that is gone joins nobody
    return taken.with_columns(look=looks), _left_out(leaking, folder, "nearly the same as {}, which is held out")


def _kept(images: pl.DataFrame, key: str) -> pl.DataFrame:
    """Name, files and split of ``images`` as ``kept_...``, to be joined by ``key``."""
    return images.select(key, pl.col("name", "file", "depth_file", "asked").name.prefix("kept_"))


def _left_out(images: pl.DataFrame, folder: Path, reason: str) -> list[_Refused]:
    """Remove the files of images, unless they are those of the one that is kept in its place."""
    refused = []
    for each in images.iter_rows(named=True):
        refused.append(_Refused(each["name"], reason.format(each["kept_name"])))
        for file in {each["file"], each["depth_file"]} - {None, each["kept_file"], each["kept_depth_file"]}:
            (folder / file).unlink(missing_ok=True)
    return refused


def _table(taken: pl.DataFrame, config: IngestConfig) -> tuple[pl.DataFrame, list[list[str]]]:
    """The table, ordered by id, and the names of near duplicates group by group."""
    whole = taken.sort("id").with_columns(group=pl.col("id").first().over("look"))
    table = whole.join(_splits(whole, config), on="group", maintain_order="left")
    several = whole.filter(pl.len().over("group") > 1).group_by("group", maintain_order=True).agg("name")
    return table.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items()), several["name"].to_list()


def _splits(whole: pl.DataFrame, config: IngestConfig) -> pl.DataFrame:
    """The ``split`` of each ``group``: the one its items ask for, else by the least hash of its pixels.

    Where photographs were held out on purpose, none of the others joins them.
    """
    wanted = pl.col("asked").drop_nulls().first()
    members = whole.group_by("group", maintain_order=True).agg(wanted, pl.col("sha256").min())
    free = members.filter(pl.col("asked").is_null())
    held = set(whole.filter(kind="photograph")["asked"])
    shares = config.split.model_copy(update={split: 0.0 for split in ("val", "test") if split in held})
    dealt = assign(free["sha256"], shares, filled=set(members["asked"].drop_nulls()))
    splits = pl.DataFrame({"group": free["group"], "dealt": dealt}, schema_overrides={"dealt": pl.String})
    joined = members.join(splits, on="group", how="left", maintain_order="left")
    return joined.select("group", split=pl.coalesce("asked", "dealt"))


def _as_json(report: Report) -> bytes:
    counts = report.table.group_by("split", "kind").len().sort("split", "kind").rows()
    facts: Mapping[str, Any] = {
        "images": {f"{split}/{kind}": count for split, kind, count in counts},
        "refused": dict(report.refused),
        "near_duplicates": report.grouped,
    }
    return (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode()
