"""What a kill or a disk does to DVC's own files is mended before DVC looks at them; no DVC runs here."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from pipeline.preflight.guard import keep_lock, repair


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def store(root: Path, data: bytes, suffix: str = "") -> str:
    """An object of the cache, as DVC keeps it; its name."""
    name = md5(data) + suffix
    path = root / ".dvc/cache/files/md5" / name[:2] / name[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o444)
    return name


def cached(root: Path, name: str) -> Path:
    return root / ".dvc/cache/files/md5" / name[:2] / name[2:]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A file and a folder, made by two stages, in the workspace and in the cache; the lock is committed."""
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "data/folder").mkdir(parents=True)
    (tmp_path / "data/file").write_bytes(b"one")
    (tmp_path / "data/folder/inner").write_bytes(b"two")
    listing = json.dumps([{"md5": store(tmp_path, b"two"), "relpath": "inner"}]).encode()
    outs = {"a": ("data/file", store(tmp_path, b"one")), "b": ("data/folder", store(tmp_path, listing, ".dir"))}
    stages = "".join(
        f"  {name}:\n    cmd: make {name}\n    outs:\n    - path: {path}\n      md5: {digest}\n"
        for name, (path, digest) in outs.items()
    )
    (tmp_path / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n{stages}")
    for command in (["init", "-q"], ["add", "dvc.lock"], ["commit", "-q", "-m", "lock"]):
        who = ["-c", "user.name=toy", "-c", "user.email=toy@example.org"]
        subprocess.run(["git", *who, *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_sound_project_is_left_alone(project: Path):
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert repair(project) == []
    assert repair(project, deep=True) == []
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("cut", [0, 1, 14, 30, 60, -1, -40])
def test_a_cut_lock_becomes_that_of_the_last_commit(project: Path, cut: int):
    whole = (project / "dvc.lock").read_bytes()
    (project / "dvc.lock").write_bytes(whole[:cut])
    said = repair(project)
    text = (project / "dvc.lock").read_bytes()
    assert text == whole or (not said and b"cmd: make a" in text)  # cut between two entries: one stage runs again


def test_the_copy_that_a_stage_kept_is_newer(project: Path):
    whole = (project / "dvc.lock").read_text()
    (project / "dvc.lock").write_text(newer := whole.replace("make b", "make b --more"))
    keep_lock(project)
    (project / "dvc.lock").write_text(whole[:20])
    keep_lock(project)  # by a stage that a DVC has started none the less: never the only copy
    assert "dvc.lock.whole.before" in repair(project)[0]
    assert (project / "dvc.lock").read_text() == newer


def test_without_any_copy_the_lock_is_removed(project: Path):
    (project / "dvc.lock").write_text("schema")
    (project / ".git").rename(project / "elsewhere")
    assert "removed" in repair(project)[0]
    assert not (project / "dvc.lock").exists()


@pytest.mark.parametrize(
    "text", ["", '{"write": {"/x": {"p', "[]", '{"write": {"/x": {"pid": 999999999, "cmd": "dvc"}}}']
)
def test_a_cut_rwlock_and_dead_entries_go(project: Path, text: str):
    (project / ".dvc/tmp/rwlock").write_text(text)
    assert "rwlock" in repair(project)[0]
    assert not (project / ".dvc/tmp/rwlock").exists()


def test_nothing_is_touched_while_a_dvc_works(project: Path):
    held = {"read": {"/x": [{"pid": os.getpid(), "cmd": "dvc repro"}]}}
    (project / ".dvc/tmp/rwlock").write_text(json.dumps(held))
    (project / "dvc.lock").write_text("schema")
    assert repair(project) == []
    assert (project / "dvc.lock").read_text() == "schema"


def damage(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(("data", "workspace"), [(b"one", "data/file"), (b"two", "data/folder/inner")])
def test_a_damaged_object_is_made_whole_from_the_workspace(project: Path, data: bytes, workspace: str):
    repair(project)
    damage(cached(project, md5(data)))
    (said,) = repair(project)
    assert workspace in said
    assert cached(project, md5(data)).read_bytes() == data
    assert cached(project, md5(data)).stat().st_mode & 0o777 == 0o444
    assert repair(project) == []


def test_a_damaged_object_goes_with_what_was_checked_out_of_it(project: Path):
    """DVC would take both for sound."""
    damage(cached(project, md5(b"two")))
    (project / "data/folder/inner").write_bytes(cached(project, md5(b"two")).read_bytes())
    (said,) = repair(project)
    assert "dvc repro makes it again" in said
    assert not cached(project, md5(b"two")).exists()
    assert not (project / "data/folder/inner").exists()
    assert (project / "data/file").exists()


def test_a_damaged_list_of_a_folder_goes(project: Path):
    (path,) = (project / ".dvc/cache").rglob("*.dir")
    damage(path)
    assert "removed" in repair(project)[0]
    assert not path.exists()


def test_what_is_untouched_is_read_once(project: Path):
    """Only --deep finds bytes that changed under an old time stamp."""
    repair(project)
    path = cached(project, md5(b"one"))
    before = path.stat()
    damage(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert repair(project) == []
    assert len(repair(project, deep=True)) == 1
