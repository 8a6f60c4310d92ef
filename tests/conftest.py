"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much of the fault suite is run (`make test-faults`)."""
    parser.addoption("--kills", type=int, default=12, help="of stages, over all of them")
    parser.addoption("--fuzz", type=int, default=2000, help="damaged inputs, over all readers")
    parser.addoption("--seed", type=int, default=0, help="of moments and damage")


@pytest.fixture(autouse=True)
def address_of_the_store() -> Iterator[None]:
    """MLflow writes the address that it is given into the environment, where the next test would find it."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Benchmark images and numerical references kept outside the project (CEA_SHARED, default ../shared)."""
    folder = Path(os.environ.get("CEA_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set CEA_SHARED to the folder that holds them")
    return folder
