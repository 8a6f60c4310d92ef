"""Which shards make up a split: a small list that changes only where the split's own data do."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from cea.config import Config
from cea.data.shards import Part, index_parts, is_rendered, read_part
from cea.data.summary import LOCAL, Place
from cea.errors import DataError
from cea.io.images import write_bytes

LABELS: tuple[Part, ...] = ("severity", "record")
"""The members of a sample that are judged with, and trained on only by a network that predicts severities."""


class RecipeShards(Config):
    """The shards of one recipe."""

    samples: int
    """How many."""
    sha256: str
    """Digest of what is trained on: the decoded pixels of every sample, in order."""
    labels: str | None = None
    """Digest of severity maps and records; None where neither training nor evaluation looks at them."""
    seen: bool
    """Whether the network is trained on this recipe."""


class SplitList(Config):
    """A split of the data set."""

    recipes: dict[str, RecipeShards]
    """In the order of params.yaml."""

    def folders(self, parent: Path, *, seen: bool | None = None) -> tuple[Path, ...]:
        """The shard folders below ``parent``: all of them, or only those of recipes that are trained on, or are not."""
        return tuple(parent / name for name, one in self.recipes.items() if seen is None or one.seen == seen)


def list_split(parent: Path, recipes: Mapping[str, bool], *, labels: bool = False) -> SplitList:
    """The list of the shard folders ``parent/<recipe>``.

    Args:
        parent: the folder of one split.
        recipes: name -> whether it is trained on.
        labels: whether severity maps and records are digested, too.

    Raises:
        DataError: shards that are missing or damaged.
    """
    return SplitList(recipes={name: _list(parent / name, seen, labels) for name, seen in recipes.items()})


def _list(folder: Path, seen: bool, labels: bool, place: Place = LOCAL) -> RecipeShards:
    return RecipeShards(
        samples=sum(map(len, index_parts(folder, place))),
        sha256=pixel_digest(index_parts(folder, place)),
        labels=label_digest(folder, place) if labels else None,
        seen=seen,
    )


def check_split(parent: Path, split: SplitList, place: Place = LOCAL) -> None:
    """Refuse shards below ``parent`` that are not those of the list; labels are compared where it has their digests.

    ``place`` is where their tars are; only the labels of stored pixels are read from there.

    Raises:
        DataError: a folder that is missing, damaged, or holds other samples than listed.
    """
    for name, listed in split.recipes.items():
        found = _list(parent / name, listed.seen, listed.labels is not None, place)
        if found != listed:
            parts = [what for part, what in _CALLED.items() if getattr(found, part) != getattr(listed, part)]
            raise DataError(
                f"{parent / name}: {' and '.join(parts)} are not those of the data set",
                expected="the shards that stage dataset listed",
                remedy="remove that folder and run dvc repro",
            )


_CALLED = {"samples": "the samples", "sha256": "the pixels", "labels": "the severity maps or records"}


def pixel_digest(index: Iterable[pl.DataFrame]) -> str:
    """64 hex digits of the samples of a shard folder, their pixels and their order; nothing of their labels.

    ``index`` comes in parts (see `cea.data.shards.index_parts`).

    The index has offsets and sizes of all members as well, which change with the length of a label's PNG or JSON.
    """
    digest = hashlib.sha256((",".join(_OF_PIXELS) + "\n").encode())
    for part in index:
        digest.update(part.select(_OF_PIXELS).write_csv(include_header=False).encode())
    return digest.hexdigest()


_OF_PIXELS = ("sample_id", "clean_id", "recipe", "height", "width", "clean_sha256", "degraded_sha256")


def label_digest(folder: Path, place: Place = LOCAL) -> str:
    """64 hex digits of severity maps, records and what the index says of components and evenness.

    The same whichever way the samples are stored; an index of records states the digests that are taken here.

    Raises:
        DataError: shards that are missing or damaged.
    """
    digest = hashlib.sha256()
    for row in chain.from_iterable(part.iter_rows(named=True) for part in index_parts(folder, place)):
        digest.update(json.dumps([row["sample_id"], row["uniform"], row["components"]]).encode())
        if is_rendered(row):
            stated = (row["severity_png_sha256"], row["record_sha256"])
            digest.update(b"".join(map(bytes.fromhex, stated)))
        else:
            for part in LABELS:
                digest.update(hashlib.sha256(read_part(folder, row, part, place)).digest())
    return digest.hexdigest()


def write_split(path: Path, split: SplitList) -> None:
    """Write the list as JSON."""
    write_bytes(path, (json.dumps(split.model_dump(exclude_none=True), indent=1) + "\n").encode())


def read_split(path: Path) -> SplitList:
    """Read it back.

    Raises:
        DataError: missing, or not such a list.
    """
    try:
        return SplitList.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", expected="the list of a split", remedy="run dvc repro") from None
    except ValidationError:
        raise DataError(
            f"{path}: not the list of a split", expected="what stage dataset writes", remedy="run dvc repro"
        ) from None


def remove_others(parent: Path, recipes: Collection[str]) -> list[str]:
    """Remove the folders below ``parent`` that belong to none of ``recipes``; their names."""
    others = sorted(path.name for path in parent.iterdir() if path.is_dir() and path.name not in recipes)
    for name in others:
        shutil.rmtree(parent / name)
    return others
