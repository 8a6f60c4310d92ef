"""`evaluate.testsets`: each under its own protocol, resumable, one clear error each."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cea.config import parse
from cea.data.testsets import find_sets
from cea.errors import ConfigError, DataError
from cea.evaluation.config import EvaluationConfig, check_folders
from cea.evaluation.folder import Method
from cea.evaluation.testsets import TESTSET_IMAGES, judge_testsets
from cea.io.images import write_image
from tests.toy_pairs import picture, write_plain_set


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A plain set of three pairs, and a denoising set of two photographs in PromptIR's layout."""
    write_plain_set(tmp_path / "mine")
    for number in range(2):
        write_image(tmp_path / f"aio/test/denoise/bsd68/{number}.png", picture(number))
    return tmp_path


def config(**benchmarks) -> EvaluationConfig:
    return parse(EvaluationConfig, {"testsets": benchmarks}, "evaluate")


def identity(image):
    return image / 255


def run(disk: Path, restore=identity, **benchmarks):
    said: list[str] = []
    found = judge_testsets(Method("digest", restore), config(**benchmarks), disk / "state", said.append)
    return *found, said


def test_each_is_judged_under_its_own_protocol(disk: Path):
    plain, aio = {"path": f"{disk}/mine", "protocol": "derain-y"}, {"path": f"{disk}/aio", "layout": "promptir"}
    summary, images, said = run(disk, plain=plain, aio=aio)
    assert [summary[name]["protocol"] for name in ("plain", "aio")] == ["derain-y", "promptir"]
    assert list(summary["aio"]["sets"]) == [f"bsd68-sigma{sigma}" for sigma in (15, 25, 50)]
    assert summary["aio"]["images"] == 6
    assert summary["aio"]["sets"]["bsd68-sigma25"]["input_psnr"] == pytest.approx(20.6, abs=0.8)
    assert summary["plain"]["gain_psnr"] == pytest.approx(0, abs=0.01)
    assert images.schema == pl.Schema(TESTSET_IMAGES)
    assert images["testset"].to_list() == ["plain"] * 3 + ["aio"] * 6
    assert "mine (plain layout): 3 pairs" in said
    assert not list((disk / "state").glob("*"))


def test_none_is_an_empty_table(disk: Path):
    summary, images, said = run(disk)
    assert (summary, len(images), said) == ({}, 0, [])
    assert images.schema == pl.Schema(TESTSET_IMAGES)


def test_a_killed_one_goes_on_and_other_weights_start_anew(disk: Path):
    for number in range(3, 9):
        write_image(disk / f"mine/target/{number}.png", picture(number))
        write_image(disk / f"mine/input/{number}.png", picture(number) // 2)
    entry = {"path": f"{disk}/mine", "protocol": "cea"}
    whole, images, _ = run(disk, mine=entry)
    seen: list[int] = []

    def dies_at_the_seventh(image):
        seen.append(1)
        if len(seen) == 7:
            raise KeyboardInterrupt
        return identity(image)

    settings = parse(EvaluationConfig, {"workers": 1, "testsets": {"mine": entry}}, "evaluate")
    with pytest.raises(KeyboardInterrupt):
        judge_testsets(Method("a", dies_at_the_seventh), settings, disk / "state", str)
    (journal,) = (disk / "state").glob("benchmark-*.jsonl")
    kept = len(journal.read_text().splitlines()) - 1
    counted: list[int] = []

    def counting(image):
        counted.append(1)
        return identity(image)

    found = judge_testsets(Method("a", counting), settings, disk / "state", str)
    assert len(counted) == 9 - kept < 9
    assert found[0] == whole
    assert found[1].equals(images)
    assert not journal.exists()
    counted.clear()
    judge_testsets(Method("b", counting), settings, disk / "state", str)
    assert len(counted) == 9


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"path": "nowhere"}, r"evaluate\.testsets\.x: nowhere: no such folder"),
        ({"path": "{disk}/mine", "layout": "promptir"}, r"testsets\.x: .*no test set recognised.*'promptir'"),
        ({"path": "{disk}/aio", "layout": "plain"}, r"testsets\.x: .*no test set recognised.*'plain'"),
        ({"path": "{disk}/broken"}, r"testsets\.x: .*1 without a target: 9\.png"),
    ],
)
def test_one_clear_error_each(disk: Path, entry, says):
    write_image(disk / "broken/target/1.png", picture(0))
    write_image(disk / "broken/input/1.png", picture(0))
    write_image(disk / "broken/input/9.png", picture(0))
    with pytest.raises(DataError, match=says):
        run(disk, x=entry | {"path": entry["path"].format(disk=disk)})


def test_what_lacks_a_target_can_be_left_out_on_purpose(disk: Path):
    (disk / "mine/target/1.png").unlink()
    summary, _, said = run(disk, mine={"path": f"{disk}/mine", "skip_missing": True})
    assert summary["mine"]["images"] == 2
    assert any("1 without a target: 1.png" in line for line in said)


def test_a_layout_that_is_asked_for_is_the_only_one_looked_for(disk: Path):
    write_image(disk / "aio/denoising/cBSD68/original_png/1.png", picture(3))
    assert {found.layout for found in find_sets(disk / "aio")} == {"promptir", "moceir"}
    assert {found.layout for found in find_sets(disk / "aio", "moceir")} == {"moceir"}


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"mine": {"protocol": "cea"}}, r"evaluate\.testsets\.mine\.path is missing"),
        ({"mine": {"path": "x", "protocol": "promptr"}}, r"did you mean 'promptir'"),
        ({"mine": {"path": "x", "layuot": "plain"}}, r"did you mean 'layout'"),
        ({"mine": {"path": "x", "layout": "onerestor"}}, r"'onerestore'"),
        ({"my-set": {"path": "x"}}, r"my-set"),
        ({"mine": {"path": ""}}, r"at least 1 character"),
    ],
)
def test_bad_parameters_name_the_key(entry, says):
    with pytest.raises(ConfigError, match=says):
        config(**entry)


def test_missing_folders_are_noticed_before_anything_runs(disk: Path):
    check_folders(config(mine={"path": "mine"}), disk)
    with pytest.raises(
        DataError, match=r"evaluate\.testsets\.mine\.path = 'yours': no such folder.*take the entry out"
    ):
        check_folders(config(mine={"path": "yours"}), disk)
