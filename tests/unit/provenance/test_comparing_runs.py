"""The first difference between a record and what was made again is named, with its cause."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cea.errors import DataError
from cea.lineage.project import open_project
from cea.lineage.record import Record, Source, installed, raw_digests
from cea.lineage.stored import Found
from cea.provenance import reproduce
from cea.provenance.reproduce import Options, reason, version_differences

LOCK = """
schema: '2.0'
stages:
  ingest:
    cmd: x
    outs: [{path: data/clean, md5: 1.dir}]
  shard@haze:
    cmd: x
    outs: [{path: data/shards/train/haze, md5: 2.dir}]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for path, text in {
        "dvc.lock": LOCK,
        "params.yaml": "seed: 1\n",
        "data/raw/a.png": "a",
        "data/code/shard/haze.txt": "aaaa  cea/rng.py\nbbbb  cea/families/haze.py\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


@pytest.fixture
def record(project: Path) -> Record:
    return Record(
        "id",
        "name",
        Source("unknown", "unknown", "unknown", "", "false"),
        stages={"shard@haze": {"data/shards/train/haze": "2.dir"}, "ingest": {"data/clean": "1.dir"}},
        weights={"best.safetensors": "w"},
        raw=raw_digests(project),
        inputs={},
        code={"cea/rng.py": "aaaa", "cea/families/haze.py": "bbbb"},
        versions=installed(),
        hardware=reproduce.hardware(),
        environment={},
        command=[],
        seconds={},
        params="seed: 1\n",
    )


def test_rows_come_in_the_order_of_the_stages_and_tell_same_from_different(project: Path, record: Record):
    other = replace(record, stages=record.stages | {"shard@haze": {"data/shards/train/haze": "9.dir"}})
    rows = list(reproduce._data_rows(other, open_project(project)))
    assert [(row.stage, row.same) for row in rows] == [("ingest", True), ("shard@haze", False)]
    gone = replace(record, stages={"shard@rain": {"data/shards/train/rain": "3.dir"}})
    assert [(row.got, row.same) for row in reproduce._data_rows(gone, open_project(project))] == [("none", False)]


def test_causes_are_named_and_only_those(project: Path, record: Record):
    assert "chance must have come in" in reason(record, project, "shard@haze")
    code = replace(record, code={"cea/rng.py": "aaaa", "cea/families/haze.py": "cccc"})
    assert reason(code, project, "shard@haze") == "other code: cea/families/haze.py"
    other = replace(record, versions=installed() | {"opencv-python-headless": "99.0"})
    assert reason(other, project, "shard@haze").startswith("other versions: opencv-python-headless 99.0 -> ")
    params = replace(record, params="seed: 2\n")
    assert reason(params, project, "shard@haze") == "other parameters: seed"
    hardware = replace(record, hardware=dict(record.hardware) | {"cpu": "another"})
    assert "other hardware: cpu another -> " in reason(hardware, project, "shard@haze")
    (project / "data/raw/a.png").write_text("b")
    assert reason(record, project, "shard@haze") == "other data: data/raw/a.png"


def test_versions_that_change_no_result_are_no_difference(record: Record):
    assert version_differences(replace(record, versions=installed() | {"tqdm": "0.1"})) == {}


def test_weights_are_promised_on_the_same_processor_alone(project: Path, record: Record):
    (project / "data/model").mkdir()
    (project / "data/model/best.safetensors").write_bytes(b"others")
    assert [row.same for row in reproduce._weight_rows(record, project)] == [False]
    elsewhere = replace(record, hardware={"cpu": "another"})
    assert [row.same for row in reproduce._weight_rows(elsewhere, project)] == [None]


def test_figures_may_differ_by_the_tolerance(project: Path, record: Record):
    (project / "metrics").mkdir()
    (project / "metrics/summary.json").write_text('{"gain_psnr": 4.45, "recipes": {"haze": {"gain_psnr": 4.0}}}')
    found = Found(record, {"gain_psnr": 4.32, "recipes": {"haze": {"gain_psnr": 4.04}}})
    assert [row.same for row in reproduce._metric_rows(found, project)] == [False, True]
    elsewhere = Found(replace(record, hardware={"cpu": "another"}), found.summary)
    assert [row.same for row in reproduce._metric_rows(elsewhere, project)] == [True, True]


def test_the_stages_before_the_start_are_reused(record: Record):
    assert reproduce._to_run(record, Options()) == ["ingest", "shard@haze"]
    assert reproduce._to_run(record, Options(start="shard")) == ["shard@haze"]
    assert reproduce._to_run(record, Options(start="train")) == []
    with pytest.raises(DataError, match="--from bake: no stage"):
        reproduce._to_run(record, Options(start="bake"))
