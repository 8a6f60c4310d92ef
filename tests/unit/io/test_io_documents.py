"""JSON and YAML of stages and of DVC: whatever is in the file ends as one line that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cea.errors import DataError
from cea.evaluation.pictures import INDEX, read_pictures
from cea.io.documents import read_json, read_yaml
from cea.lineage.facts import dependency_digests, outputs_of
from cea.lineage.project import open_project
from cea.lineage.spool import Spool
from cea.provenance.samples import sample_row
from cea.report.inputs import ReportFiles, read_content

DAMAGED = {
    "nothing": b"",
    "cut": b'{"a": [1, 2',
    "null bytes": b"\0" * 50,
    "not text": b"\xff\xfe\x80{}",
    "a list": b"[1, 2]",
    "a number": b"7",
    "too deep": b"[" * 100_000,
    "a conflict": b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> other\n",
    "a page": b"<!DOCTYPE html>\n<title>404</title>\n",
    "no date": b"stages: 2001-99-99\n",
    "an unknown tag": b"stages: !!python/object:os.system {}\n",
    "tabs": b"stages:\n\ta: 1\n",
}


def one_line(caught: pytest.ExceptionInfo[DataError], name: str) -> None:
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_json_is_one_line(tmp_path: Path, damage: str):
    (tmp_path / "a.json").write_bytes(DAMAGED[damage])
    with pytest.raises(DataError) as caught:
        read_json(tmp_path / "a.json", expected="what a stage writes", remedy="run it again")
    one_line(caught, "a.json")
    with pytest.raises(DataError) as caught:
        read_content(ReportFiles(tmp_path / "a.json"))
    one_line(caught, "a.json")


@pytest.mark.parametrize("damage", [name for name in DAMAGED if name not in ("nothing", "too deep")])
def test_damaged_files_of_dvc_are_one_line(tmp_path: Path, damage: str):
    (tmp_path / "dvc.yaml").write_text("stages: {train: {cmd: x, deps: [a], outs: [b]}}\n")
    for name, read in {
        "dvc.lock": (lambda: open_project(tmp_path), lambda: dependency_digests("train", tmp_path)),
        "dvc.yaml": (lambda: outputs_of("train", tmp_path), lambda: dependency_digests("train", tmp_path)),
    }.items():
        (tmp_path / name).write_bytes(DAMAGED[damage])
        for each in read:
            with pytest.raises(DataError) as caught:
                each()
            one_line(caught, name)
        (tmp_path / name).unlink()


def test_an_empty_yaml_holds_nothing(tmp_path: Path):
    (tmp_path / "a.yaml").write_bytes(b"")
    assert read_yaml(tmp_path / "a.yaml", expected="x", remedy="y") == {}
    with pytest.raises(DataError, match=r"b\.yaml: No such file"):
        read_yaml(tmp_path / "b.yaml", expected="x", remedy="y")


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_tables_pictures_and_waiting_records_are_one_line(tmp_path: Path, damage: str):
    (tmp_path / "summary.parquet").write_bytes(DAMAGED[damage])
    with pytest.raises(DataError) as caught:
        sample_row(tmp_path / "summary.parquet", "a")
    one_line(caught, "summary.parquet")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / INDEX).write_bytes(DAMAGED[damage])
    with pytest.raises(DataError) as caught:
        read_pictures(tmp_path / "pictures")
    one_line(caught, INDEX)
    spool = Spool()
    spool.folder = tmp_path / "spool"
    (tmp_path / "spool/run").mkdir(parents=True)
    (tmp_path / "spool/run/0001.json").write_bytes(DAMAGED[damage])
    with pytest.raises(DataError) as caught:
        spool.ended("run")
    one_line(caught, "0001.json")
