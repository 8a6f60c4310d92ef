"""docs/shards.md: foreign readers read the shards as the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toy_shards import write_toy_shards


@pytest.mark.slow
def test_both_readers_read_every_sample(root: Path, tmp_path: Path):
    write_toy_shards(tmp_path / "shards/train/low_haze", samples=4, size=48)
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs/shards.md").read_text(), re.DOTALL)
    outputs = [
        subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for block in blocks
    ]
    assert outputs[0].split("\n")[:-1] == [f"toy-low_haze-{number:04d} uint8" for number in range(4)]
    assert outputs[1] == "4\n"
