"""What a training keeps to go on after a kill: checkpoints whose bytes are checked before they are trusted.

A checkpoint carries the digest of its bytes in its name, so that both appear at once, and the one before it is kept
until the next: a damaged one costs a stretch between two validations, not the run.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from cea.io.faults import explained
from cea.io.images import sync, write_bytes

_NAME = re.compile(r"resume-(?P<step>\d{8})-(?P<digest>[0-9a-f]{32})\.ckpt")
_KEPT = 2


def open_state(folder: Path, mark: str) -> Path | None:
    """The checkpoint to go on from, or None; what another run or a damaged disk left in ``folder`` is removed.

    Args:
        folder: of one training.
        mark: the digest of all that decides its weights.
    """
    written = folder / "fingerprint"
    if written.is_file() and written.read_bytes() == mark.encode():
        for path in reversed(_checkpoints(folder)):
            if _digest(path) == _part(path, "digest"):
                return path
            logging.info("%s is damaged; going on from the checkpoint before it", path)
            path.unlink()
        return None
    forget(folder)
    write_bytes(written, mark.encode())
    return None


def keep(folder: Path, step: int, write: Callable[[Path], None]) -> None:
    """Have ``write`` make the checkpoint of ``step`` in ``folder``, whole or not at all; older ones but one go."""
    partial = folder / ".resume.ckpt"  # what a kill leaves of it, the next one overwrites
    with explained(partial):
        write(partial)
        sync(partial)
        partial.replace(folder / f"resume-{step:08d}-{_digest(partial)}.ckpt")
    for path in _checkpoints(folder)[:-_KEPT]:
        path.unlink()


def forget(folder: Path) -> None:
    """Remove the state: at once for whoever looks for it, whatever happens meanwhile."""
    removed = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    if folder.exists():
        folder.replace(removed)
        shutil.rmtree(removed, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("resume-*.ckpt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(_part(path, "step")))


def _part(path: Path, part: str) -> str:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return match[part]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
