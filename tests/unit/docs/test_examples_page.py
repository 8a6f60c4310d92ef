"""docs/examples.md is executed, and leaves no family, adapter or metric out."""

from __future__ import annotations

import doctest
import inspect
import re
from pathlib import Path

from cea.degradations.contract.registry import FAMILIES
from cea.metrics import no_reference, perceptual, protocol, psnr, ssim
from cea.models.adapters.registry import ADAPTERS


def test_every_example_gives_what_the_page_says(root: Path, monkeypatch):
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
    result = doctest.testfile(str(root / "docs/examples.md"), module_relative=False, encoding="utf-8")
    assert result.attempted > 50
    assert result.failed == 0


def test_none_is_left_out(root: Path):
    page = (root / "docs/examples.md").read_text(encoding="utf-8")
    code = "\n".join(line for line in page.splitlines() if line.startswith((">>>", "...")))
    assert set(re.findall(r'degraded\(["\'](\w+)', code)) == set(FAMILIES)
    assert set(re.findall(r'tokens_that_notice\("([\w-]+)"\)', code)) == set(ADAPTERS)
    metrics = {
        name
        for module in (psnr, ssim, no_reference)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    used = metrics - {"psnr_of"} | {protocol.score.__name__, perceptual.load_lpips.__name__}
    assert {name for name in used if not re.search(rf"\b{name}\(", code)} == set()
