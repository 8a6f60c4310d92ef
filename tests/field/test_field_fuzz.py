"""Damaged files of every format: the right pixels, or one clear error; never a traceback, never wrong pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.field.mutations import INTACT, mutated, silence, verdict
from tests.field.pictures import FLAT, pillow, png, with_chunk

RIGHT = ("intact", "as another decoder", "refused")


@pytest.mark.parametrize("name", INTACT)
def test_what_is_not_damaged_is_intact(name: str):
    assert verdict(name, INTACT[name]) == "intact"


@settings(max_examples=600, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(INTACT)), seed=st.integers(0, 2**32 - 1))
def test_damaged_files_give_right_pixels_or_one_error(name: str, seed: int):
    with silence():
        assert verdict(name, mutated(INTACT[name], np.random.default_rng(seed))) in RIGHT


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=400), start=st.sampled_from([b"", *(each[:16] for each in INTACT.values())]))
def test_any_bytes_give_right_pixels_or_one_error(data: bytes, start: bytes):
    with silence():
        assert verdict("png", start + data) in RIGHT


def test_a_wrong_picture_would_be_noticed():
    assert verdict("png", pillow(255 - FLAT, "PNG")) == "as another decoder"
    other = with_chunk(png(FLAT, 8, 2), b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0")
    assert verdict("png", other) == "wrong pixels"
