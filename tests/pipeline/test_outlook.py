"""What ``make repro`` says before it runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.preflight import outlook


def keep(root: Path, **seconds: float) -> None:
    folder = root / "data/seconds"
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in seconds.items():
        (folder / f"{name.replace('_at_', '@')}.json").write_text(json.dumps({"seconds": value}))


def test_the_last_times_are_told_where_they_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outlook, "step_seconds", lambda *_: pytest.fail("timed"))
    keep(tmp_path, train=300, evaluate=61, ingest=5, shard_at_haze=10)
    assert outlook.line(tmp_path) == (
        "when they last ran here, training took 5:00, evaluation 1:01, all other stages 0:15; "
        "what has not changed does not run again"
    )


def test_else_training_steps_are_timed(root: Path, tmp_path: Path):
    yaml = YAML()
    params = yaml.load((root / "params.yaml").read_text(encoding="utf-8"))
    params["train"] |= {"max_steps": 1000, "batch": 1, "patch": 32, "threads": 1}
    params["model"] |= {"width": 8, "encoder_blocks": [1], "decoder_blocks": [1], "middle_blocks": 1}
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    keep(tmp_path, ingest=5)
    said = outlook.line(tmp_path)
    total, each = re.fullmatch(
        r"training: about (\d+:\d\d) for 1000 steps \((\d\.\d\d) s each, median of 3 timed here\), if .*", said
    ).groups()
    minutes, seconds = map(int, total.split(":"))
    assert 60 * minutes + seconds == pytest.approx(1000 * float(each), abs=6)
