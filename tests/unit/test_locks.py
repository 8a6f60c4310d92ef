"""The two locks name the same versions, and the second a digest for each."""

from __future__ import annotations

import re
from pathlib import Path

LINE = re.compile(r"(?P<name>[a-z0-9.-]+)==(?P<version>[^+ ]+)(\+cpu)? --hash=sha256:[0-9a-f]{64}")


def lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def test_every_locked_version_has_a_digest(root: Path):
    """`make lock` writes both; a package that was added to one alone is noticed here."""
    matches = [LINE.fullmatch(line) for line in lines(root / "requirements.sha256")]
    assert None not in matches
    locked = {line.lower().replace("_", "-") for line in lines(root / "requirements.lock")}
    assert {f"{match['name']}=={match['version']}" for match in matches if match} == locked
