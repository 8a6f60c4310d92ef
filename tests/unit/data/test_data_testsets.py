"""Benchmark folders: layouts recognised, pairs by the sets' own rules, nothing dropped in silence."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cea.data.leaks import check_leaks, find_leaks
from cea.data.pairing import before_variant, without_word
from cea.data.testsets import check_complete, describe, find_sets
from cea.degradations.contract.cdd11 import COMPOSITIONS
from cea.errors import DataError
from cea.io.images import write_image


def touch(root: Path, *names: str) -> None:
    """Files of which only the name matters."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def pairs(root: Path) -> dict[str, dict[str, str]]:
    return {
        found.name: {pair.name: pair.clean.relative_to(root).as_posix() for pair in found.pairs}
        for found in find_sets(root)
    }


def test_promptir_tree(tmp_path: Path):
    touch(tmp_path, "test/denoise/bsd68/101085.png", "test/denoise/kodak24/kodim01.png")
    touch(tmp_path, "test/derain/Rain100L/input/1.png", "test/derain/Rain100L/target/1.png")
    touch(
        tmp_path,
        "test/dehaze/input/0001_0.8_0.2.jpg",
        "test/dehaze/input/0001_1_0.2.jpg",
        "test/dehaze/target/0001.png",
    )
    touch(tmp_path, "test/deblur/gopro/input/a.png", "test/deblur/gopro/target/a.png")
    touch(tmp_path, "test/enhance/lol/input/7.png", "test/enhance/lol/target/7.png")
    found = pairs(tmp_path)
    assert list(found) == [
        *("bsd68-sigma15", "bsd68-sigma25", "bsd68-sigma50", "kodak24-sigma15", "kodak24-sigma25", "kodak24-sigma50"),
        *("Rain100L", "SOTS-outdoor", "GoPro", "LOL-v1"),
    ]
    assert found["SOTS-outdoor"] == {
        "0001_0.8_0.2": "test/dehaze/target/0001.png",
        "0001_1_0.2": "test/dehaze/target/0001.png",
    }
    assert {name.name for name in find_sets(tmp_path / "test")} == set(found)
    assert {benchmark.layout for benchmark in find_sets(tmp_path)} == {"promptir"}


def test_moceir_tree(tmp_path: Path):
    touch(tmp_path, "denoising/cBSD68/original_png/1.png", "denoising/BSD400/x.png")
    touch(tmp_path, *(f"deraining/Rain100L/{name}" for name in ("rainy/rain-001.png", "gt/norain-001.png")))
    touch(tmp_path, *(f"dehazing/SOTS/outdoor/{name}" for name in ("hazy/0012_0.9_0.16.jpg", "gt/0012.png")))
    touch(tmp_path, *(f"deblurring/GoPro/test/{name}" for name in ("input/a.png", "target/a.png")))
    touch(tmp_path, *(f"llie/LOLv1/Test/{name}" for name in ("input/1.png", "target/1.png")))
    touch(tmp_path, *(f"cdd11/test/{kind}/01.png" for kind in ("clear", *COMPOSITIONS)))
    found = pairs(tmp_path)
    assert found["Rain100L"] == {"rain-001": "deraining/Rain100L/gt/norain-001.png"}
    assert found["SOTS-outdoor"] == {"0012_0.9_0.16": "dehazing/SOTS/outdoor/gt/0012.png"}
    assert len(found) == 3 + 4 + 11
    sets = {benchmark.name: benchmark for benchmark in find_sets(tmp_path)}
    assert sets["CDD-11-low_haze_snow"].components == ("low", "haze", "snow")


@pytest.mark.parametrize("where", ["CDD-11_test/", ""])
def test_onerestore_tree(tmp_path: Path, where):
    touch(
        tmp_path, *(f"{where}{kind}/{number:02d}.png" for kind in ("clear", "haze", "haze_rain") for number in (1, 2))
    )
    found = pairs(tmp_path)
    assert found["CDD-11-haze_rain"] == {"01": f"{where}clear/01.png", "02": f"{where}clear/02.png"}
    assert list(found) == ["CDD-11-haze", "CDD-11-haze_rain"]


def test_plain_pairs_here_or_one_level_down(tmp_path: Path):
    touch(tmp_path, "mine/input/2.jpg", "mine/input/10.jpg", "mine/target/2.png", "mine/target/10.png")
    touch(tmp_path, "other/lq/7_1.png", "other/gt/7.png", "notes.txt")
    assert pairs(tmp_path) == {
        "mine": {"2": "mine/target/2.png", "10": "mine/target/10.png"},
        "other": {"7_1": "other/gt/7.png"},
    }
    assert list(pairs(tmp_path / "mine")["mine"]) == ["2", "10"]


def test_nothing_is_dropped_in_silence(tmp_path: Path):
    touch(
        tmp_path, *(f"input/{name}.png" for name in ("a", "b", "c")), "target/a.png", "target/z.png", "input/readme.txt"
    )
    (found,) = find_sets(tmp_path)
    assert [path.name for path in found.without_target] == ["b.png", "c.png"]
    assert [path.name for path in found.without_input] == ["z.png"]
    lines = "\n".join(describe(found))
    assert "1 pair\n" in lines
    assert "2 without a target: b.png, c.png" in lines
    assert "1 without an input: z.png" in lines
    with pytest.raises(DataError, match=r"2 without a target: b\.png, c\.png.*--skip-missing"):
        check_complete([found])


def test_what_is_not_a_benchmark(tmp_path: Path):
    with pytest.raises(DataError, match="no such folder"):
        find_sets(tmp_path / "none")
    touch(tmp_path, "holiday/1.jpg")
    with pytest.raises(DataError, match=r"it holds holiday.*input/ and target/"):
        find_sets(tmp_path)
    touch(tmp_path, "input/1.png", "target/1.png", "target/1.jpg")
    with pytest.raises(DataError, match=r"both 1\.jpg and 1\.png"):
        find_sets(tmp_path)


def test_names():
    assert before_variant("0012_0.8_0.2") == "0012"
    assert before_variant("img_2") is None
    for name, core in {
        "low7": "7",
        "7_low": "7",
        "lowell": "lowell",
        "low": "",
        "slow7": "slow7",
        "low.7": "7",
    }.items():
        assert without_word(name, "low") == core


def test_real_folders_pair_as_the_manifest_says(shared: Path):
    rows = list(csv.DictReader((shared / "data/MANIFEST.csv").open()))
    wanted = {(row["degraded"], row["clean"]) for row in rows if row["degraded"] and row["clean"]}
    sets = {benchmark.name: benchmark for benchmark in find_sets(shared / "data")}
    assert {"rain100l", "sots_outdoor", "lol_our485_subset", "polyu_crops"} <= set(sets)
    found = {
        tuple(path.relative_to(shared / "data").as_posix() for path in (pair.degraded, pair.clean))
        for benchmark in sets.values()
        for pair in benchmark.pairs
    }
    assert found == wanted
    for benchmark in sets.values():
        assert benchmark.without_target == ()


def test_training_images_of_a_test_set_are_refused(tmp_path: Path):
    generator = np.random.default_rng(0)

    def photograph(path: str, cells) -> Path:
        write_image(tmp_path / path, np.kron(cells, np.ones((16, 16, 1), np.uint8)).astype(np.uint8))
        return tmp_path / path

    scenes = [generator.integers(0, 256, (12, 16, 3), dtype=np.uint8) for _ in range(4)]
    for number in range(2):
        photograph(f"set/input/{number}.png", scenes[number])
        photograph(f"set/target/{number}.png", scenes[number])
    same = photograph("train/same.png", scenes[1])
    mirrored = photograph("train/mirrored.png", scenes[0][:, ::-1])
    other = photograph("train/other.png", scenes[2])
    sets = find_sets(tmp_path / "set")
    train = {"same": same, "mirrored": mirrored, "other": other}
    assert [(leak.train, leak.test.name) for leak in find_leaks(train, sets)] == [
        ("same", "1.png"),
        ("mirrored", "0.png"),
    ]
    with pytest.raises(DataError, match=r"2 training images .* same repeats 1\.png"):
        check_leaks(train, sets)
    check_leaks({"other": other}, sets)


def test_cbsd68_scenes_in_rain100l_are_found(shared: Path):
    # Both sets take photographs from BSDS500; the manifest's notes say which ones Rain100L took.
    rain = next(benchmark for benchmark in find_sets(shared / "data") if benchmark.name == "rain100l")
    train = {path.stem: path for path in sorted((shared / "data/cbsd68/clean").glob("*.png"))}
    rows = csv.DictReader((shared / "data/MANIFEST.csv").open())
    notes = {row["id"]: row["note"] for row in rows if row["set"] == "rain100l"}
    leaks = find_leaks(train, [rain])
    assert len(leaks) >= 3
    for leak in leaks:
        assert f"/{leak.train}." in notes[leak.test.stem]
    known = {stem for stem in train for pair in rain.pairs if f"/{stem}." in notes[pair.name]}
    assert known == {leak.train for leak in leaks}


@pytest.mark.slow
def test_the_training_photographs_share_no_scene_with_the_test_sets(shared: Path):
    train = {path.stem: path for path in sorted((shared / "data/bsds_train/clean").glob("*.jpg"))}
    sets = [found for found in find_sets(shared / "data") if found.name in ("rain100l", "sots_outdoor")]
    assert len(train) == 365
    assert find_leaks(train, sets) == []
