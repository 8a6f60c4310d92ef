"""A folder of shards against its index, to the last byte that matters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cea.data.archive import read_members
from cea.data.shards import PARTS, REMEDY, corrupt, read_index, read_sample
from cea.errors import DataError


def verify(folder: Path) -> None:
    """Decode every sample of ``folder``, compare its pixels with the index's hashes, and its tars member by member.

    Raises:
        DataError: naming the first tar and sample that differ, or a tar with other members than its index describes.
    """
    index = read_index(folder)
    for (name,), rows in index.group_by("tar", maintain_order=True):
        found = [(one.name, one.offset, one.size) for one in read_members(folder / str(name))]
        if found != [member for row in rows.iter_rows(named=True) for member in _members(row)]:
            raise DataError(
                f"{folder / str(name)}: other members than its index describes",
                expected="the members of the index, in its order, and no more",
                remedy=REMEDY,
            )
    for row in index.iter_rows(named=True):
        if read_sample(folder, row).record.get("sample_id") != row["sample_id"]:
            raise corrupt(folder, row, "record")


def _members(row: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Name, offset and size of each member of a sample."""
    names = {part: f"{row['sample_id']}.{part}.{kind}" for part, kind in PARTS.items()}
    return [(name, row[f"{part}_offset"], row[f"{part}_size"]) for part, name in names.items()]
