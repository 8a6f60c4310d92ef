"""A half-finished evaluation on disk: one line per judged image, so that a killed one goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

from cea.errors import DataError
from cea.evaluation.judge import Row


class Journal:
    """Rows of an evaluation, appended as they come.

    Floats are written so that they read back exactly; a line cut short by a kill is dropped.

    Args:
        path: the file; made with the first row.
        key: what the rows depend on (weights, data, protocol), as one string. A file with another key is refused,
            because its rows belong to another result.

    Attributes:
        done: the rows so far, by sample id.

    Raises:
        DataError: the file belongs to another evaluation.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self._key = path, key
        self.done: dict[str, Row] = {}
        self._whole = 0
        if path.is_file():
            self._read()

    def add(self, row: Row) -> None:
        """Append one row; it is on disk when this returns."""
        line = json.dumps([row.image, row.bins], allow_nan=False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("r+b" if self._whole else "wb") as file:
            file.seek(self._whole)
            file.truncate()
            if not self._whole:
                file.write(json.dumps({"key": self._key}).encode() + b"\n")
            file.write(line.encode() + b"\n")
            self._whole = file.tell()
        self.done[row.image["sample_id"]] = row

    def _read(self) -> None:
        head, *lines = self.path.read_bytes().splitlines(keepends=True) or [b""]
        if not head.endswith(b"\n"):
            return  # killed while the first line was being written
        if json.loads(head) != {"key": self._key}:
            raise DataError(
                f"{self.path}: rows of another evaluation",
                expected="the same weights, data and protocol as before",
                remedy="remove the file, or choose another folder for the results",
            )
        self._whole = len(head)
        for line in lines:
            if line.endswith(b"\n"):
                image, bins = json.loads(line)
                self.done[image["sample_id"]] = Row(image, bins)
                self._whole += len(line)
