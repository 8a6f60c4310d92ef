"""A half-finished evaluation on disk: one line per judged image, so that a killed one goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

from cea.errors import DataError, foreign
from cea.evaluation.judge import Row


class Journal:
    """Rows of an evaluation, appended as they come.

    Floats are written so that they read back exactly; a line cut short by a kill is dropped.

    Args:
        path: the file; made with the first row.
        key: what all rows depend on (weights, protocol), as one string. A file with another key is refused, because
            its rows belong to another result.

    Raises:
        DataError: the file belongs to another evaluation, or is damaged.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self._key = path, key
        self._done: dict[str, tuple[Row, str]] = {}
        self._whole = 0
        if path.is_file():
            self._read()

    def find(self, sample_id: str, fingerprint: str) -> Row | None:
        """The row of an image, if it was judged when its files were those of ``fingerprint``."""
        row, then = self._done.get(sample_id, (None, ""))
        return row if then == fingerprint else None

    def add(self, row: Row, fingerprint: str) -> None:
        """Append the row of the image whose files are ``fingerprint``; it is on disk when this returns."""
        line = json.dumps([row.image, row.bins, fingerprint], allow_nan=False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("r+b" if self._whole else "wb") as file:
            file.seek(self._whole)
            file.truncate()
            if not self._whole:
                file.write(json.dumps({"key": self._key}).encode() + b"\n")
            file.write(line.encode() + b"\n")
            self._whole = file.tell()
        self._done[row.image["sample_id"]] = row, fingerprint

    def _read(self) -> None:
        head, *lines = self.path.read_bytes().splitlines(keepends=True) or [b""]
        if not head.endswith(b"\n"):
            return  # killed while the first line was being written
        with foreign(self.path, expected="rows of an evaluation", remedy="remove the file, and run again"):
            self._check_key(json.loads(head))
            self._whole = len(head)
            for line in lines:
                if line.endswith(b"\n"):
                    image, bins, fingerprint = json.loads(line)
                    self._done[image["sample_id"]] = Row(image, bins), fingerprint
                    self._whole += len(line)

    def _check_key(self, head: object) -> None:
        if head != {"key": self._key}:
            raise DataError(
                f"{self.path}: rows of another evaluation",
                expected="the same weights, protocol and options as before",
                remedy="remove the file, or choose another folder for the results",
            )
