"""What ingest knows of the images that it has taken: rows and thumbnails in files without names, 42 bytes in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cea.data.duplicates import THUMBNAIL, Thumbnail
from cea.io.sequences import in_order
from cea.types import Split

RANKS: tuple[Split, ...] = ("test", "val", "train")
"""The splits that a source may ask for; of two equal images the one stays whose split stands first here: what was held
out on purpose."""

FREE = len(RANKS)
"""The rank of an image of which no split is asked."""

FACTS = np.dtype([("number", "<i8"), ("place", "<i8"), ("digest", "S16"), ("rank", "u1"), ("photograph", "?")])
"""What is in memory of an image: its number in the order of the source, its place in the files, the first half of its
pixels' SHA-256, the rank of the split that is asked for, whether it is a photograph."""

_THUMBNAIL_BYTES = THUMBNAIL[0] * THUMBNAIL[1]


class Taken:
    """Images as they are taken, in any order; a context that ends with the files.

    Args:
        folder: on whose disk the files are.

    Attributes:
        photographs: how many of them there are.

    Raises:
        OSError: there is no room on it.
    """

    def __init__(self, folder: Path) -> None:
        self._rows = TemporaryFile(dir=folder)  # noqa: SIM115
        self._small = TemporaryFile(dir=folder)  # noqa: SIM115
        self._facts = bytearray()
        self._offsets = bytearray()
        self.photographs = 0

    def __enter__(self) -> Taken:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        """Give the disk back."""
        self._rows.close()
        self._small.close()

    def add(self, number: int, row: Mapping[str, Any], small: Thumbnail, asked: Split | None) -> None:
        """Keep an image.

        Args:
            number: in the order of the source.
            row: can be written as JSON; has its ``id``, ``sha256`` and ``kind``.
            small: its thumbnail.
            asked: the split that its source asks for.
        """
        place = len(self)
        digest = bytes.fromhex(row["sha256"])[:16]
        rank = RANKS.index(asked) if asked in RANKS else FREE
        fact = np.array((number, place, digest, rank, row["kind"] == "photograph"), FACTS)
        self._facts += fact.tobytes()
        self.photographs += row["kind"] == "photograph"
        self._offsets += self._rows.tell().to_bytes(8, "little")
        self._rows.write(json.dumps(row).encode() + b"\n")
        self._small.write(small.tobytes())

    def __len__(self) -> int:
        """How many there are."""
        return len(self._offsets) // 8

    def facts(self) -> NDArray[Any]:
        """(n,) `FACTS` of all of them, by their numbers: once, when the last was added; here they are not kept."""
        self._rows.flush()
        self._small.flush()
        facts = np.frombuffer(self._facts, FACTS)
        self._facts = bytearray()
        return facts[np.argsort(facts["number"])]

    def row(self, place: int) -> dict[str, Any]:
        """The row of the image at ``place``."""
        offsets = np.frombuffer(self._offsets, "<i8")
        begin = int(offsets[place])
        end = int(offsets[place + 1]) if place + 1 < len(offsets) else self._rows.tell()
        row: dict[str, Any] = json.loads(os.pread(self._rows.fileno(), end - begin, begin))
        return row

    def rows(self, facts: NDArray[Any]) -> Iterator[dict[str, Any]]:
        """The rows of these images, in their order."""
        return (self.row(place) for place in facts["place"])

    def by_id(self, facts: NDArray[Any]) -> NDArray[np.int64]:
        """(n,) indices of these images in the order of their ids."""
        keys = (f"{row['id']}\t{index}".encode() for index, row in enumerate(self.rows(facts)))
        return np.fromiter((int(key.rpartition(b"\t")[2]) for key in in_order(keys)), np.int64, len(facts))

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(m, 32, 32) uint8: the thumbnails at these places."""
        handle = self._small.fileno()
        read = b"".join(os.pread(handle, _THUMBNAIL_BYTES, int(place) * _THUMBNAIL_BYTES) for place in places)
        return np.frombuffer(read, np.uint8).reshape(-1, *THUMBNAIL)
