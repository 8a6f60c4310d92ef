"""A folder of shards against its index, to the last byte that matters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cea.data import png
from cea.data.archive import read_members
from cea.data.reading import read_sample
from cea.data.shards import PARTS, corrupt, read_index, read_part
from cea.data.summary import REMEDY, Place, kind_of, read_summary
from cea.errors import DataError
from cea.io.images import file_sha256


def verify(folder: Path) -> None:
    """Decode every sample of ``folder``, compare its pixels with the index's hashes, and its tars member by member.

    Raises:
        DataError: naming the first tar and sample that differ, or a tar with other members than its index describes.
    """
    index = read_index(folder)
    for (name,), rows in index.group_by("tar", maintain_order=True):
        _check_members(folder / str(name), rows.to_dicts())
    for row in index.iter_rows(named=True):
        if read_sample(folder, row).record.get("sample_id") != row["sample_id"]:
            raise corrupt(folder, row, "record")


def check_tar(folder: Path, name: str, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Check the file at ``path`` as the tar ``name`` of the shards or tiles in ``folder``, before it is put there.

    By its digest where the summary has one. A tar of pixels, whose summary has none, by its members, the digests of
    its pictures, the check sums within its PNGs and the names in its records.

    Args:
        folder: with index and summary.
        name: of the tar there.
        path: the file.
        rows: those of the tar in an index of pixels; not looked at for records and tiles.

    Raises:
        DataError: it is another tar, or a damaged one.
    """
    summary, size = read_summary(folder, _At(path)), path.stat().st_size
    facts = summary["tars"][name]
    if size != facts["bytes"]:
        raise DataError(f"{path}: {size} bytes", expected=f"{facts['bytes']} bytes", remedy=REMEDY)
    if kind_of(summary) != "pixels":
        if file_sha256(path) != facts["sha256"]:
            raise DataError(f"{path}: other bytes than its summary says", expected=facts["sha256"], remedy=REMEDY)
        return
    listed = list(rows)
    _check_members(path, listed)
    for row in listed:
        if row["severity_size"] and not png.is_intact(read_part(folder, row, "severity", _At(path))):
            raise corrupt(folder, row, "severity")
        if read_sample(folder, row, _At(path)).record.get("sample_id") != row["sample_id"]:
            raise corrupt(folder, row, "record")


class _At(Place):
    """One tar that lies elsewhere under another name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, tar: Path, size: int) -> None:
        """Nothing: the tar is looked at itself."""

    @contextmanager
    def opened(self, tar: Path) -> Iterator[int]:
        """That one."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            yield handle
        finally:
            os.close(handle)


def _check_members(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    found = [(one.name, one.offset, one.size) for one in read_members(path)]
    if found != [member for row in rows for member in _members(row)]:
        raise DataError(
            f"{path}: other members than its index describes",
            expected="the members of the index, in its order, and no more",
            remedy=REMEDY,
        )


def _members(row: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Name, offset and size of each member of a sample."""
    parts = ("record",) if "tile" in row else PARTS
    names = {part: f"{row['sample_id']}.{part}.{PARTS[part]}" for part in parts}  # type: ignore[index]
    return [(name, row[f"{part}_offset"], row[f"{part}_size"]) for part, name in names.items()]
