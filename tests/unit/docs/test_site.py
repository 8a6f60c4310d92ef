"""The documentation builds as a site without a warning, and no page is forgotten."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def test_every_page_is_in_the_contents():
    listed = set(re.findall(r"^[\w/-]+$", (ROOT / "docs/index.md").read_text(encoding="utf-8"), re.MULTILINE))
    pages = {page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    built = {page for page in pages if not page.startswith(("_build/", "comparison/"))}
    assert built - {"index"} == listed


@pytest.mark.slow
def test_site_builds_without_a_warning(tmp_path: Path):
    command = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "--keep-going", "docs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "reference.html").read_text(encoding="utf-8")
    for anchor in ("cea.inference.restore", "cea.models.adapters.base.Adapter", "cea.metrics.psnr.psnr"):
        assert f'id="{anchor}"' in reference, anchor
    start = (tmp_path / "quick-start.html").read_text(encoding="utf-8")
    assert "Restoring photographs</" in start[start.index("<article") :]
    assert ".md<" not in start, "a link shows a file's name, not the title of its page"
