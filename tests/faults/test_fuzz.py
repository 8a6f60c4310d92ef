"""Damaged bytes for every reader: what was written, or one clear error; in full by ``make test-faults``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.readers import Reader, count, faults, readers, verdict
from tests.field.mutations import silence

NAMES = (
    "record",
    "records table",
    "params",
    "tar",
    "index",
    "summary",
    "split list",
    "journal",
    "map",
    "weights",
)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Reader]]:
    with silence():
        yield readers(tmp_path_factory.mktemp("fuzz"))


def test_no_reader_is_left_out(every: dict[str, Reader]):
    assert {"image", *NAMES} == set(every)
    assert sum(reader.share for reader in every.values()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_damaged_is_read(name: str, every: dict[str, Reader]):
    for data in every[name].intact:
        every[name].read(data)


@settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**40))
def test_damaged_input_is_read_rightly_or_refused_in_one_line(name: str, seed: int, every: dict[str, Reader]):
    assert verdict(name, every[name], seed) in ("read", "refused")


@pytest.mark.faults
@pytest.mark.slow
def test_the_same_in_full(request: pytest.FixtureRequest):
    """``--fuzz 100000``: as many inputs over all readers, pictures included."""
    found = count(request.config.getoption("--fuzz"), request.config.getoption("--seed"))
    assert faults(found) == set()
