"""A record holds what its run was made from, wherever the project lies, and says unknown where it cannot know."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from cea.errors import DataError
from cea.lineage.facts import as_tags
from cea.lineage.record import Record, from_text, make_record, read_record, source_now, to_line, write_record
from cea.provenance.worktree import checked_out, find_raw, restore_raw

LOCK = """
schema: '2.0'
stages:
  ingest:
    cmd: x
    deps: [{path: data/raw, md5: 1.dir}]
    outs: [{path: data/clean, md5: 2.dir}]
  shard@low:
    cmd: x
    outs: [{path: data/shards/train/low, md5: 3.dir}]
  shard@gone:
    cmd: x
    outs: [{path: data/shards/train/gone, md5: 4.dir}]
  train:
    cmd: x
    outs: [{path: data/model, md5: 5.dir}]
"""


def git(folder: Path, *command: str) -> str:
    names = ["-c", "user.name=toy", "-c", "user.email=toy@example.org"]
    return subprocess.run(["git", *names, *command], cwd=folder, check=True, capture_output=True, text=True).stdout


def repository(folder: Path, project: str = "") -> Path:
    root = folder / project
    (root / "cea").mkdir(parents=True)
    (root / "plugins").mkdir()
    (root / "cea/noise.py").write_bytes(b"# \xe4 is not UTF-8\nSIGMA = 1\n")
    (root / "params.yaml").write_text("recipes: {low: {}}\n")
    (root / "dvc.lock").write_text(LOCK)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "toy")
    return root


def recorded(root: Path) -> Record:
    return make_record(root, ("id", "name"), {"recipes": {"low": {}}}, {"best.safetensors": "6"}, 1.0)


@pytest.mark.parametrize(
    ("folder", "project"), [("plain", ""), ("with spaces, # and ü", ""), ("monorepo", "models/cea project")]
)
def test_changes_and_untracked_plugins_come_back_with_the_record(tmp_path: Path, monkeypatch, folder, project):
    root = repository(tmp_path / folder, project)
    assert source_now(root).dirty == "false"
    changed = b"# \xe4 is not UTF-8\nSIGMA = 2\n"
    (root / "cea/noise.py").write_bytes(changed)
    (root / "plugins/fog.py").write_bytes(b"# \xff\n")
    (root / "notes.txt").write_text("no stage reads this")
    record = recorded(root)
    assert record.source.dirty == "true"
    assert dict(record.source.untracked) == {"plugins/fog.py": b"# \xff\n"}
    assert record.source.prefix == (f"{project}/" if project else "")
    write_record(record, tmp_path / "record")
    assert read_record(tmp_path / "record") == record
    git(root, "checkout", "-q", ".")
    (root / "plugins/fog.py").unlink()
    monkeypatch.chdir(root)
    for again in (record, from_text(f"<dd>{to_line(record)}</dd>", "page")):
        with checked_out(again.source) as laid_out:
            assert (laid_out / "cea/noise.py").read_bytes() == changed
            assert (laid_out / "plugins/fog.py").read_bytes() == b"# \xff\n"
        assert not laid_out.exists()
    assert git(root, "status", "--porcelain", "plugins", "cea") == ""


def test_an_untracked_plugin_alone_is_a_difference_also_where_git_ignores_it(tmp_path: Path):
    root = repository(tmp_path / "project")
    (root / ".git/info/exclude").write_text("fog.py\n")
    (root / "plugins/fog.py").write_text("X = 1\n")
    assert source_now(root).dirty == "true"
    assert "plugins/fog.py" in source_now(root).untracked


def test_what_the_installation_built_is_no_difference_and_leaves_room_on_the_page(tmp_path: Path):
    """A library of half a megabyte made every run differ from its commit, and its record too long for the report."""
    root = repository(tmp_path / "project")
    (root / "cea/loops.c").write_text("int one(void) { return 1; }\n")
    git(root, "add", "cea/loops.c")
    git(root, "commit", "-q", "-m", "loops")
    noise = np.random.default_rng(0).bytes(500_000)
    (root / "cea/loops.cpython-311-x86_64-linux-gnu.so").write_bytes(noise)
    record = recorded(root)
    assert (record.source.dirty, dict(record.source.untracked)) == ("false", {})
    assert from_text(f"<dd>{to_line(record)}</dd>", "page").source == record.source
    for path in ("cea/other.so", "plugins/fast.so"):
        (root / path).write_bytes(noise)
    assert set(source_now(root).untracked) == {"cea/other.so", "plugins/fast.so"}
    with pytest.raises(DataError, match="too long for the page"):
        from_text(f"<dd>{to_line(recorded(root))}</dd>", "page")


def test_what_git_does_not_say_is_unknown_and_is_not_reproduced(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "project").mkdir()
    source = source_now(tmp_path / "project")
    assert (source.commit, source.dirty, source.prefix, source.shallow) == ("unknown",) * 4
    with pytest.raises(DataError, match="code is not known"), checked_out(source):
        pass


def test_a_shallow_clone_and_a_worktree_say_what_they_are(tmp_path: Path, monkeypatch):
    root = repository(tmp_path / "project")
    git(root, "commit", "-q", "--allow-empty", "-m", "second")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{root}", "shallow")
    git(root, "worktree", "add", "-q", str(tmp_path / "tree"))
    assert source_now(tmp_path / "shallow").shallow == "true"
    tree = source_now(tmp_path / "tree")
    assert (tree.shallow, tree.branch, tree.commit) == ("false", "tree", source_now(root).commit)
    first = source_now(root)
    git(root, "reset", "-q", "--hard", "HEAD~1")
    old = source_now(root)
    assert old.commit != first.commit
    monkeypatch.chdir(tmp_path / "shallow")
    with pytest.raises(DataError, match=r"not in this repository.*--unshallow"), checked_out(old):
        pass


def test_the_chain_is_that_of_the_present_recipes_up_to_the_training(tmp_path: Path):
    record = recorded(repository(tmp_path / "project"))
    assert record.stages == {"ingest": {"data/clean": "2.dir"}, "shard@low": {"data/shards/train/low": "3.dir"}}
    assert record.inputs["ingest"] == {"data/raw": "1.dir"}
    assert {"numpy", "torch", "python", "scipy"} <= set(record.versions)


def test_switches_of_the_environment_are_recorded(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    environment = recorded(repository(tmp_path / "project")).environment
    assert environment["OMP_NUM_THREADS"] == "3"
    assert "SECRET_TOKEN" not in environment


def test_own_photographs_are_found_by_their_bytes(tmp_path: Path):
    root = repository(tmp_path / "project")
    for name in ("a.png", "b.png", "c.png"):
        (root / "data/raw").mkdir(parents=True, exist_ok=True)
        (root / "data/raw" / name).write_bytes(name.encode())
    raw = recorded(root).raw
    cached = tmp_path / "cache/files/md5" / raw["data/raw/b.png"][:2] / raw["data/raw/b.png"][2:]
    cached.parent.mkdir(parents=True)
    (root / "data/raw/b.png").rename(cached)
    (root / "data/raw/a.png").rename(root / "data/raw/renamed.png")
    restore_raw(find_raw(raw, root, tmp_path / "cache"), tmp_path / "again")
    assert [(tmp_path / "again/data/raw" / name).read_bytes() for name in ("a.png", "b.png", "c.png")] == [
        b"a.png",
        b"b.png",
        b"c.png",
    ]
    (root / "data/raw/c.png").write_bytes(b"other")
    with pytest.raises(DataError, match=r"1 files of the raw input are nowhere here, data/raw/c\.png"):
        restore_raw(find_raw(raw, root, tmp_path / "cache"), tmp_path / "again")


def test_damaged_and_foreign_records_are_refused(tmp_path: Path):
    record = recorded(repository(tmp_path / "project"))
    write_record(record, tmp_path / "record")
    text = (tmp_path / "record/record.json").read_text()
    (tmp_path / "record/record.json").write_text(text.replace('"schema": 1', '"schema": 99'))
    with pytest.raises(DataError, match="schema 99"):
        read_record(tmp_path / "record")
    with pytest.raises(DataError, match="holds no record"):
        from_text("<html></html>", "page.html")
    with pytest.raises(DataError, match="not a whole record"):
        from_text(to_line(record)[:-40], "page.html")


def test_the_record_is_no_tag(tmp_path: Path):
    line = to_line(recorded(repository(tmp_path / "project")))
    assert as_tags({"run": {"id": "a", "record": line}}) == {"run.id": "a"}
