"""Splits follow from the content, keep their shares, and leave none of the configured ones empty."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cea.config import parse
from cea.data.splits import SplitConfig
from cea.data.splits import assign as deal
from cea.errors import ConfigError, DataError


def _names(count: int, tag: str = "") -> list[str]:
    return [hashlib.sha256(f"{tag}{index}".encode()).hexdigest() for index in range(count)]


def assign(names: list[str], config: SplitConfig, **options) -> dict[str, str]:
    return dict(zip(names, deal(names, config, **options), strict=True))


def test_shares_are_kept_in_the_mean():
    counts = Counter(assign(_names(4000), SplitConfig(test=0.2, val=0.1)).values())
    assert counts["test"] / 4000 == pytest.approx(0.2, abs=0.02)
    assert counts["val"] / 4000 == pytest.approx(0.1, abs=0.02)


@given(st.integers(0, 1000), st.integers(1, 30))
def test_a_group_keeps_its_split_when_others_come(salt, more):
    """Above a handful, where no split has to be filled up."""
    config = SplitConfig(test=0.3, val=0.3, salt=salt)
    before = assign(_names(60), config)
    after = assign(_names(60) + _names(more, "new"), config)
    assert all(after[name] == split for name, split in before.items())


@given(st.integers(0, 10_000), st.integers(3, 8))
def test_no_configured_split_is_empty(salt, count):
    assert set(assign(_names(count), SplitConfig(salt=salt)).values()) == {"train", "val", "test"}


@given(st.integers(0, 10_000))
def test_a_split_of_share_zero_stays_empty(salt):
    assert set(assign(_names(5), SplitConfig(val=0, salt=salt)).values()) == {"train", "test"}


def test_splits_held_by_leaves_need_no_photograph():
    assert assign(_names(1), SplitConfig(), filled={"train", "val"}) == {_names(1)[0]: "test"}


def test_too_few_photographs_are_an_error():
    with pytest.raises(DataError, match="2 different photographs for the splits test, val, train; expected at least 3"):
        assign(_names(2), SplitConfig())


def test_shares_that_leave_nothing_to_train_on_are_an_error():
    with pytest.raises(ConfigError, match="test \\+ val below 1"):
        parse(SplitConfig, {"test": 0.6, "val": 0.5}, "ingest.split")
