"""A half-finished evaluation on disk: one line per judged image, so that a killed one goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cea.errors import DataError
from cea.evaluation.judge import Row
from cea.io.faults import explained


class Journal:
    """Rows of an evaluation, appended as they come.

    Floats are written so that they read back exactly. Each line ends with a digest of itself: from the first that was
    cut short by a kill, or damaged, on, images are judged again.

    Args:
        path: the file; made with the first row.
        key: what all rows depend on (weights, protocol), as one string. A file with another key is refused, because
            its rows belong to another result.

    Raises:
        DataError: the file belongs to another evaluation.
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
        line = _sealed([row.image, row.bins, fingerprint])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("r+b" if self._whole else "wb") as file:
            file.seek(self._whole)
            file.truncate()
            if not self._whole:
                file.write(_sealed({"key": self._key}))
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
            self._whole = file.tell()
        self._done[row.image["sample_id"]] = row, fingerprint

    def _read(self) -> None:
        with explained(self.path):
            head, *lines = self.path.read_bytes().splitlines(keepends=True) or [b""]
        key = _opened(head)
        if key is None:
            return  # killed while the first line was being written, or of no use
        self._check_key(key)
        self._whole = len(head)
        for line in lines:
            content = _opened(line)
            if not isinstance(content, list) or len(content) != 3:
                return
            image, bins, fingerprint = content
            self._done[image["sample_id"]] = Row(image, bins), fingerprint
            self._whole += len(line)

    def _check_key(self, head: object) -> None:
        if head != {"key": self._key}:
            raise DataError(
                f"{self.path}: rows of another evaluation",
                expected="the same weights, protocol and options as before",
                remedy="remove the file, or choose another folder for the results",
            )


def _sealed(content: Any) -> bytes:
    text = json.dumps(content, allow_nan=False).encode()
    return text + b" " + _digest(text) + b"\n"


def _opened(line: bytes) -> Any:
    """What a line says; None where it is not whole."""
    text, _, digest = line.rpartition(b" ")
    return json.loads(text) if digest == _digest(text) + b"\n" else None


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()
