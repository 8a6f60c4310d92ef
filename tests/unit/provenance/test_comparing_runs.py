"""The first difference between a record and what was made again is named, with its cause."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cea.errors import DataError
from cea.lineage.facts import hardware
from cea.lineage.project import open_project
from cea.lineage.record import Record, Source, installed, raw_digests, source_now, training_threads
from cea.lineage.stored import Found
from cea.provenance import comparing, environment, reproduce
from cea.provenance.environment import version_differences
from cea.provenance.reproduce import Options

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


PARAMS = "seed: 1\ntrain: {threads: 2}\n"


def reason(record: Record, project: Path, stage: str) -> str:
    return reproduce.reason(record, project, stage, installed())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for path, text in {
        "dvc.lock": LOCK,
        "params.yaml": PARAMS,
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
        hardware=hardware() | {"threads": "2"},
        environment={},
        command=[],
        seconds={},
        params=PARAMS,
    )


def test_rows_come_in_the_order_of_the_stages_and_tell_same_from_different(project: Path, record: Record):
    other = replace(record, stages=record.stages | {"shard@haze": {"data/shards/train/haze": "9.dir"}})
    rows = list(comparing.data_rows(other, open_project(project)))
    assert [(row.stage, row.same) for row in rows] == [("ingest", True), ("shard@haze", False)]
    gone = replace(record, stages={"shard@rain": {"data/shards/train/rain": "3.dir"}})
    assert [(row.got, row.same) for row in comparing.data_rows(gone, open_project(project))] == [("none", False)]


def test_causes_are_named_and_only_those(project: Path, record: Record):
    assert "chance must have come in" in reason(record, project, "shard@haze")
    code = replace(record, code={"cea/rng.py": "aaaa", "cea/families/haze.py": "cccc"})
    assert reason(code, project, "shard@haze") == "other code: cea/families/haze.py"
    other = replace(record, versions=installed() | {"opencv-python-headless": "99.0"})
    assert reason(other, project, "shard@haze").startswith("other versions: opencv-python-headless 99.0 -> ")
    params = replace(record, params=PARAMS.replace("1", "3"))
    assert reason(params, project, "shard@haze") == "other parameters: seed"
    hardware = replace(record, hardware=dict(record.hardware) | {"cpu": "another"})
    assert "other hardware: cpu another -> " in reason(hardware, project, "shard@haze")
    (project / "data/raw/a.png").write_text("b")
    assert reason(record, project, "shard@haze") == "other data: data/raw/a.png"


def test_versions_that_change_no_result_are_no_difference(record: Record):
    assert version_differences(replace(record, versions=installed() | {"tqdm": "0.1", "cea": "0.0"}), installed()) == {}
    other = replace(record, versions=installed() | {"opencv-python-headless": "99.0"})
    (change,) = version_differences(other, installed()).items()
    assert change == ("opencv-python-headless", f"99.0 -> {installed()['opencv-python-headless']}")


def test_requirements_of_the_recorded_commit_are_compared_and_how_to_have_them_is_said(project, record, monkeypatch):
    commit(project, "requirements.lock", "# made by hand\ntorch==2.0.1+cpu\nNumPy==1.0 ; python_version > '3'\n")
    monkeypatch.chdir(project)
    known = replace(record, source=source_now(project))
    assert environment.lock_differences(known.source, {"torch": "2.0.1+cu118", "numpy": "1.0"}) == {}
    assert environment.lock_differences(known.source, {"torch": "2.1"}) == {
        "torch": "2.0.1 -> 2.1",
        "numpy": "1.0 -> none",
    }
    made = reproduce.plan(Found(known, None), project, Options(), "the run")
    assert made["requirements.lock of the commit"]["torch"].startswith("2.0.1 -> ")
    remedy, show, _, install, again = made["rebuild the environment"]
    assert remedy == "--rebuild, or:"
    assert show == f"git show {known.source.commit}:requirements.lock > cea-{known.source.commit[:10]}.txt"
    assert install.endswith(f"pip install --requirement cea-{known.source.commit[:10]}.txt")
    assert again == f"cea reproduce 'the run' --python cea-{known.source.commit[:10]}/bin/python"
    assert "rebuild the environment" not in reproduce.plan(Found(known, None), project, Options(rebuild=True), "x")


def test_an_environment_that_cannot_be_had_is_one_clear_error(project: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"python1\.0 is not here"):
        environment.rebuilt(project, "1.0.2")
    with pytest.raises(DataError, match=r"holds no requirements\.lock"):
        environment.rebuilt(project, platform.python_version())
    with pytest.raises(DataError, match="nowhere"):
        environment.environment_of(tmp_path / "nowhere")
    python = environment.environment_of(Path(sys.executable))
    assert python.versions["dvc"] == installed()["dvc"]
    assert python.versions["python"] == platform.python_version()


def test_weights_are_promised_on_the_same_processor_with_the_same_threads_alone(project: Path, record: Record):
    (project / "data/model").mkdir()
    (project / "data/model/best.safetensors").write_bytes(b"others")
    for changes, promised in (({}, False), ({"cpu": "another"}, None), ({"threads": "1"}, None), ({"gpu": "H"}, None)):
        other = replace(record, hardware=dict(record.hardware) | changes)
        rows = comparing.weight_rows(other, project, comparing.promise(other, project))
        assert [row.same for row in rows] == [promised]


def test_figures_are_held_to_what_was_measured_for_such_a_machine(project: Path, record: Record):
    (project / "metrics").mkdir()
    (project / "metrics/summary.json").write_text('{"gain_psnr": 4.45, "recipes": {"haze": {"gain_psnr": 4.0}}}')

    def held(gain: float, haze: float, **changes: str) -> list[bool | None]:
        other = replace(record, hardware=dict(record.hardware) | changes)
        found = Found(other, {"gain_psnr": gain, "recipes": {"haze": {"gain_psnr": haze}}})
        return [row.same for row in comparing.metric_rows(found, project, comparing.promise(other, project))]

    assert held(4.45, 4.0) == [True, True]
    assert held(4.4501, 4.0001) == [False, False], "bit for bit"
    assert held(4.32, 4.74, cpu="another") == [True, True]
    assert held(4.1, 5.1, cpu="another") == [False, False]
    assert held(4.449, 4.001, threads="1") == [True, True]


def test_threads_that_differ_are_named(project: Path, record: Record):
    one = replace(record, hardware=dict(record.hardware) | {"threads": "1"})
    assert reason(one, project, "train") == "other hardware: threads 1 -> 2"
    left = {"train": {"threads": 0}}
    assert training_threads(left, {"OMP_NUM_THREADS": "3"}) == "3"
    assert int(training_threads(left, {})) >= 1


def test_how_long_it_takes_is_the_sum_of_the_stages_that_run(project: Path, record: Record, monkeypatch):
    commit(project, "a", "")
    monkeypatch.chdir(project)
    timed = replace(record, source=source_now(project), seconds={"ingest": 2.0, "train": 10.0, "evaluate": 1.5})
    made = reproduce.plan(Found(timed, None), project, Options(), "x")["time"]
    assert made["in all, s"] == 13.5
    assert made["not recorded"] == ["shard@haze", "report"]
    later = reproduce.plan(Found(timed, None), project, Options(start="train"), "x")["time"]
    assert later == {"in all, s": 11.5, "not recorded": ["report"], "by stage, s": {"train": 10.0, "evaluate": 1.5}}


def commit(project: Path, name: str, text: str) -> None:
    (project / name).write_text(text)
    for command in (["init", "-q"], ["add", name], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=project, check=True)


def test_the_stages_before_the_start_are_reused(record: Record):
    assert reproduce._to_run(record, Options()) == ["ingest", "shard@haze"]
    assert reproduce._to_run(record, Options(start="shard")) == ["shard@haze"]
    assert reproduce._to_run(record, Options(start="train")) == []
    with pytest.raises(DataError, match="--from bake: no stage"):
        reproduce._to_run(record, Options(start="bake"))
