"""Digests agree with DVC's own, and facts survive as tags."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cea.lineage.facts import as_tags, dependency_digests, lineage

LOCK = """
schema: '2.0'
stages:
  shard@low:
    cmd: x
    outs:
    - {path: data/shards/train/low, md5: d41d8cd98f00b204e9800998ecf8427e.dir}
"""
STAGES = """
stages:
  train:
    cmd: x
    deps: [data/shards/train/low, code.py, {absent.py: {}}]
"""


def test_digests_come_from_the_lock_for_data_and_from_the_file_for_code(tmp_path: Path):
    (tmp_path / "dvc.yaml").write_text(STAGES)
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "code.py").write_text("pass")
    assert dependency_digests("train", tmp_path) == {
        "data/shards/train/low": "d41d8cd98f00b204e9800998ecf8427e.dir",
        "code.py": hashlib.md5(b"pass").hexdigest(),
    }


def test_no_pipeline_no_digests(tmp_path: Path):
    assert dependency_digests("train", tmp_path) == {}


def test_tags_are_dotted_and_empty_facts_left_out():
    assert as_tags({"git": {"commit": "abc", "branch": ""}, "seed": 3}) == {"git.commit": "abc", "seed": "3"}


def test_lineage_names_what_can_change_a_result():
    tags = as_tags(lineage(seed=7))
    assert tags["seed"] == "7"
    assert {"versions.torch", "versions.numpy", "hardware.cpu", "hardware.cores"} <= set(tags)
