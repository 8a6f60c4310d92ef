"""What tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toy_shards import write_toy_splits


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy shards of two splits, for reading alone."""
    return write_toy_splits(tmp_path_factory.mktemp("shards"))
