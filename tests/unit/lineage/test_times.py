"""How long a stage took stands beside its outputs, and only where DVC ran it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from cea.lineage import times
from cea.lineage.record import seconds_beside
from cea.report.traces import embedded


def test_the_time_counts_from_the_start_of_the_process():
    before = time.monotonic()
    first = times.elapsed()
    time.sleep(0.2)
    gone = times.elapsed() - first
    assert 0 < first < 24 * 3600
    assert 0.15 <= gone <= time.monotonic() - before + 0.05


def test_a_stage_that_dvc_runs_leaves_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    times.keep(tmp_path)
    assert list(tmp_path.iterdir()) == [], "outside DVC the stage has no name"
    for address in ("ingest", "sub/dvc.yaml:shard@haze"):
        monkeypatch.setenv("DVC_STAGE", address)
        times.keep(tmp_path)
    known = times.known(["ingest", "shard@haze", "shard@rain"], tmp_path)
    assert list(known) == ["ingest", "shard@haze"]
    assert all(seconds > 0 for seconds in known.values())
    (tmp_path / times.FOLDER / "ingest.json").write_text("{")
    assert list(times.known(["ingest", "shard@haze"], tmp_path)) == ["shard@haze"]
    assert json.loads(times.as_json())["ended"] == pytest.approx(time.time(), abs=5)


def test_a_page_says_how_long_the_evaluation_took():
    page = f"<script>{embedded({'record': 'cea-record-1:eJ==', 'seconds': {'evaluate': 4.5}})}</script>"
    assert seconds_beside(page) == {"evaluate": 4.5}
    assert seconds_beside("<dd>cea-record-1:eJ==</dd>") == {}
