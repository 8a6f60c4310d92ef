"""docs/network.md tells the truth: its numbers are counted, its example is run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cea.models.adapters.registry import ADAPTERS
from cea.models.config import ModelConfig, ModelSection
from cea.models.measure.cost import cost


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs/network.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_sizes_are_counted(page: str) -> None:
    rows = re.findall(r"^\| `(tiny|small|base)` \| `(\w+)` \| ([\d.]+) M \| ([\d.]+) \| (\S+) \| (\S+) \|$", page, re.M)
    assert len(rows) == 6
    for size, block, *shown in rows:
        own, plain = (
            cost(ModelConfig.model_validate({"size": size, "block": block, "adapter": name}))
            for name in ("cea", "none")
        )
        counted = [f"{own.parameters / 1e6:.2f}", f"{own.macs / 1e9:.1f}"]
        counted += [f"{one / two - 1:+.1%}" for one, two in zip(own, plain, strict=True)]
        assert shown == counted, (size, block)


def test_every_adapter_is_described_with_its_width_key(page: str) -> None:
    table = page.partition("## Adapters")[2].partition("## Adding")[0]
    rows = dict(re.findall(r"^\| `([\w-]+)` \|.*\| `(\w+)` \|$", table, re.M))
    assert rows == {name: ADAPTERS[name].width_key for name in ADAPTERS}


def test_keys_exist(page: str) -> None:
    named = re.findall(r"^\| `(\w+)` \|", page.partition("| size |")[0], re.M)
    assert named
    assert set(named) <= set(ModelSection.model_fields)


@pytest.mark.slow
def test_example_passes_its_contract_and_is_matched(page: str, tmp_path: Path) -> None:
    code, test = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "shift.py").write_text(code)
    (tmp_path / "test_shift.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shift.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 20
    command = [sys.executable, "-m", "cea.cli", "cost", "shift:Shift", "--size", "tiny", "--matched", "--count-only"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "shift:Shift, matched" in done.stdout, done.stderr
