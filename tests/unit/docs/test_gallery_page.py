"""docs/gallery.md and docs/engine.md name what exists."""

from __future__ import annotations

import re

from cea.degradations.contract.registry import FAMILIES
from cea.degradations.engine.shipped import settings


def test_every_family_is_described_with_its_ranges(root):
    page = (root / "docs/gallery.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.M))
    assert set(rows) == set(FAMILIES)
    for name, row in rows.items():
        stage, _, ranges = (cell.strip() for cell in row.split("|")[:3])
        assert stage == FAMILIES[name].stage
        assert set(re.findall(r"`(\w+)`", ranges)) == set(FAMILIES[name].Ranges.model_fields), name


def test_every_set_of_recipes_is_described_and_pictures_are_there(root):
    page = (root / "docs/gallery.md").read_text(encoding="utf-8")
    for name in settings():
        assert f"`{name}`" in page or f"`{name.split('/')[0]}/*`" in page, name
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (root / "docs" / picture).is_file()
    assert sum(path.stat().st_size for path in (root / "docs/gallery").iterdir()) < 900_000


def test_every_family_has_its_cost(root):
    page = (root / "docs/engine.md").read_text(encoding="utf-8")
    costs = {name: row.split("|") for name, row in re.findall(r"^\| `(\w+)`[^|]*\|(.*)\|$", page, re.M)}
    assert set(costs) == set(FAMILIES)
    slow = {name for name, row in costs.items() if max(float(cell) for cell in row[:2]) > 60}
    assert slow <= {"varying_blur"}  # the only family that may cost more: several kernels everywhere
