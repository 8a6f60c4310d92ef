"""A small set of clean images, shared by the tests of records and shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toy_clean import write_clean


@pytest.fixture(scope="session")
def clean_folder(tmp_path_factory) -> Path:
    """Six images in three splits, see `tests.toy_clean`."""
    return write_clean(tmp_path_factory.mktemp("clean"))
