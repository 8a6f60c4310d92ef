"""Recipes of docs/several-processes.md that go through the library: weights spread over processes (FSDP), Ray Train."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.mark.slow
def test_a_network_spread_over_two_processes_learns_what_one_would(root: Path, tmp_path: Path):
    for name, launcher in (("one", []), ("two", TORCHRUN)):
        command = [sys.executable, *launcher, "-m", "tests.sharded", str(tmp_path / name)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one", "two"))
    assert two["held"] < 0.55 * one["held"]  # and the first part of an odd number is the larger one
    assert one["weights"].keys() == two["weights"].keys()
    assert max(float((one["weights"][key] - two["weights"][key]).abs().max()) for key in one["weights"]) < 1e-9
