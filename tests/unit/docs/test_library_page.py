"""docs/library.md is executed."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from cea.io.images import write_image
from cea.levels import to_uint8
from cea.testing.degradations import picture


@pytest.mark.slow
def test_every_example_gives_what_the_page_says(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
    write_image(tmp_path / "photo.png", to_uint8(picture((96, 128))))
    for name in "abcd":
        write_image(tmp_path / "photos" / f"{name}.png", to_uint8(picture((80, 100))))
    result = doctest.testfile(str(root / "docs/library.md"), module_relative=False, encoding="utf-8")
    assert result.attempted > 20
    assert result.failed == 0
