"""Long sequences: in parts, and sorted with few entries in memory."""

from __future__ import annotations

import errno
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cea.io import sequences
from cea.io.sequences import in_order, in_parts


def test_parts_have_the_size_and_the_last_what_is_left():
    assert list(in_parts(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(in_parts([], 2)) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=12).map(lambda entry: entry.replace(b"\0", b"\n"))), st.integers(1, 9))
def test_entries_come_sorted_however_few_are_in_memory(entries: list[bytes], run: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "_RUN", run)
        patch.setattr(sequences, "_BLOCK", 5)
        assert list(in_order(iter(entries))) == sorted(entries)


def test_few_entries_need_no_file(monkeypatch):
    monkeypatch.delattr(sequences, "TemporaryFile")
    assert list(in_order([b"b", b"a", b""])) == [b"", b"a", b"b"]


def test_a_full_disk_is_said(monkeypatch, tmp_path: Path):
    def full():
        file = TemporaryFile(dir=tmp_path)  # noqa: SIM115

        def writelines(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        file.writelines = writelines
        return file

    monkeypatch.setattr(sequences, "_RUN", 2)
    monkeypatch.setattr(sequences, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space left"):
        list(in_order([b"c", b"b", b"a"]))
