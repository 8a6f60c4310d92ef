"""Benchmark folders as people have them: paired by a known rule or a stated one, or refused with the reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cea.cli import evaluate as command
from cea.cli.main import app
from cea.data.testsets import find_sets
from cea.errors import InputError
from cea.evaluation import table
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.folder import Method
from cea.evaluation.judge import judge
from cea.evaluation.testsets import judge_testsets
from cea.io.images import write_image
from tests.field.pairs import KINDS, NFD, clean_picture, degraded_picture, save, write_pairs


def judged(data: Path, *arguments: object):
    """``cea eval`` of outputs that equal their inputs, which needs no network."""
    sets = data.parent / "theirs"
    for file in [path for path in data.rglob("*") if path.is_file()]:
        copy = sets / file.relative_to(data.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    return run("--data", data, *arguments)


def run(*arguments: object):
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def pairs_in(folder: Path, stated: str | None = None) -> set[tuple[str, str]]:
    return {
        (str(pair.degraded.relative_to(folder)), str(pair.clean.relative_to(folder)))
        for found in find_sets(folder, pairs=stated)
        for pair in found.pairs
    }


@pytest.mark.parametrize("kind", KINDS)
def test_known_names_pair(tmp_path: Path, kind: str):
    folder = write_pairs(tmp_path / "set", *KINDS[kind])
    assert pairs_in(folder) == set(KINDS[kind])
    assert not any(found.without_target or found.without_input for found in find_sets(folder))


def refusal(folder: Path, stated: str | None = None) -> str:
    done = run("--data", folder, "-o", folder.parent / "out", *(["--pairs", stated] if stated else []))
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert not (folder.parent / "out").exists()
    return done.stderr


def test_what_no_rule_pairs_is_named_with_the_option_that_does(tmp_path: Path):
    folder = tmp_path / "set"
    write_pairs(folder, *((f"input/dim{n}.png", f"target/ref{n}.png") for n in range(4)))
    says = refusal(folder)
    for word in ("set/input", "set/target", "dim0.png, dim1.png, dim2.png, ...", "ref0.png, ref1.png, ref2.png, ..."):
        assert word in says
    assert r"--pairs 'low(\d+) -> normal\1'" in says
    assert pairs_in(folder, r"dim(\d+) -> ref\1") == {(f"input/dim{n}.png", f"target/ref{n}.png") for n in range(4)}


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ((("input/img_2.png", "target/img.png"),), ("img_2.png", "img.png")),
        ((("input/7_rain.png", "target/7.png"), ("input/7_haze.png", "target/7.png")), ("7_rain.png", "7_haze.png")),
        ((("input/lowell.png", "target/ell.png"),), ("lowell.png", "ell.png")),
    ],
)
def test_what_may_be_another_picture_is_not_paired(tmp_path: Path, wrong, names):
    says = refusal(write_pairs(tmp_path / "set", *wrong))
    assert all(name in says for name in names)


@pytest.mark.parametrize(
    ("files", "stated"),
    [
        ((("dark/a1.png", "bright/b1.png"), ("dark/a2.png", "bright/b2.png")), r"a(\d) -> b\1"),
        ((("x/dark/a1.png", "y/b1.png"),), r"x/dark/a(\d) -> y/b\1"),
        ((("1-in.png", "1-out.png"), ("2-in.png", "2-out.png")), r"(\d)-in -> \1-out"),
        ((("scene1/noisy.png", "scene1/mean.png"), ("scene2/noisy.png", "scene2/mean.png")), r"(.*)/noisy->\1/mean"),
        ((("input/img_2.png", "target/img.png"), ("input/img_3.png", "target/img.png")), r"(\w+)_\d+ -> \1"),
        (((f"input/{NFD}_1.png", "target/café_9.png"),), r"(café)_1 -> \1_9"),
        ((("input/b.png", "target/a.png"), ("input/a.png", "target/b.png")), "pairs.csv"),
    ],
)
def test_stated_pairs(tmp_path: Path, files, stated: str):
    folder = write_pairs(tmp_path / "set", *files)
    (folder / "pairs.csv").write_text("input,target\n" + "".join(f"{a},{b}\n" for a, b in files))
    assert pairs_in(folder, stated) == set(files)


@pytest.mark.parametrize(
    ("text", "mark"), [("\ufeffinput;target\r\n{};{}\r\n", ";"), ("{}\t{}\n\n", "\t"), ('"{}", "{}"', ",")]
)
def test_tables_as_spreadsheets_write_them(tmp_path: Path, text: str, mark: str):
    folder = write_pairs(tmp_path / "set", ("a/ü 1.png", "b/9.png"))
    (tmp_path / "pairs.csv").write_text(text.format("a/ü 1.png", "b/9.png"), encoding="utf-8")
    assert pairs_in(folder, str(tmp_path / "pairs.csv")) == {("a/ü 1.png", "b/9.png")}


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (r"low(\d+ -> normal\1", "missing ), unterminated"),
        (r"low(\d+) -> normal\2", "invalid group reference 2"),
        ("low ->", "'low ->'"),
        ("nowhere.csv", "nowhere.csv: no such file"),
        ("empty.csv", "no pairs in it"),
        ("three.csv", "three.csv, line 2: not two names"),
        ("lost.csv", "input/9.png: no such file"),
        ("latin.csv", "CSV file in UTF-8"),
        (r"nothing/(\d) -> like/\1", "none of 2 images"),
    ],
)
def test_what_is_stated_wrongly_is_one_line(tmp_path: Path, stated: str, says: str):
    folder = write_pairs(tmp_path / "set", ("input/1.png", "target/1.png"))
    (folder / "empty.csv").write_text("input,target\n")
    (folder / "three.csv").write_text("input,target\ninput/1.png,target/1.png,x\n")
    (folder / "lost.csv").write_text("input/9.png,target/1.png\n")
    (folder / "latin.csv").write_bytes("input/\xe9.png,target/1.png".encode("latin-1"))
    assert says in refusal(folder, stated)


def test_hidden_files_are_no_images(tmp_path: Path):
    folder = write_pairs(tmp_path / "set", ("input/1.png", "target/1.png"), ("input/2.png", "target/2.png"))
    for name in ("input/._1.png", "target/._1.png", "input/.hidden.png", "input/Thumbs.db", "target/.DS_Store"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    done = judged(folder, "--outputs", tmp_path / "theirs/set/input", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "2 pairs" in done.output


def test_equal_pictures_are_capped_and_counted(tmp_path: Path):
    folder = write_pairs(tmp_path / "set", ("input/1.png", "target/1.png"), ("input/2.png", "target/2.png"))
    (folder / "input/1.png").write_bytes((folder / "target/1.png").read_bytes())
    done = judged(folder, "--outputs", tmp_path / "theirs/set/input", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "1 identical: input equal to target, infinite PSNR counted as 100 dB" in done.output
    assert "1 identical: output equal to target" in done.output
    assert json.loads((tmp_path / "out/summary.json").read_text())["identical"] == 1


@pytest.mark.parametrize("empty", ["input", "target", "both"])
def test_empty_folders_are_named(tmp_path: Path, empty: str):
    folder = write_pairs(tmp_path / "set", ("input/1.png", "target/1.png"))
    for name in ("input", "target") if empty == "both" else (empty,):
        (folder / name / "1.png").unlink()
    assert f"set/{'input' if empty == 'both' else empty}: no images in it" in refusal(folder)


@pytest.mark.parametrize(
    ("size", "protocol", "says"), [((6, 6), "cea", "at least 7x7"), ((15, 40), "promptir", "at least 16")]
)
def test_what_is_too_small_for_a_protocol_is_refused(tmp_path: Path, size, protocol: str, says: str):
    for name in ("input", "target"):
        save(tmp_path / f"set/{name}/1.png", clean_picture(0, *size))
    assert says in refusal(tmp_path / "set", None) if protocol == "cea" else True
    done = run("--data", tmp_path / "set", "-o", tmp_path / "out", "--protocol", protocol)
    assert done.exit_code == 2
    assert says in done.stderr


def test_grey_targets_and_deep_inputs_are_scored(tmp_path: Path):
    grey = clean_picture()[..., 0]
    save(tmp_path / "set/target/1.png", grey)
    save(tmp_path / "set/input/1.png", np.repeat(degraded_picture(grey)[..., None], 3, axis=2))
    done = judged(tmp_path / "set", "--outputs", tmp_path / "theirs/set/input", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output


def test_turned_inputs_are_refused_for_that_reason(tmp_path: Path):
    from PIL import Image as PilImage

    exif = PilImage.Exif()
    exif[0x0112] = 6
    save(tmp_path / "set/target/1.png", clean_picture())
    save(tmp_path / "set/input/1.jpg", clean_picture(), exif=exif)
    assert "orientation" in refusal(tmp_path / "set")


def halved(path: Path) -> bytes:
    """Cut the file in half; what it was before."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return whole


def test_a_broken_file_stops_no_other_and_is_judged_alone_when_it_is_mended(tmp_path: Path, monkeypatch):
    folder = write_pairs(tmp_path / "set", *((f"input/{n}.jpg", f"target/{n}.png") for n in (1, 2, 3)))
    clean = write_pairs(tmp_path / "whole", *((f"input/{n}.jpg", f"target/{n}.png") for n in (1, 2, 3)))
    assert run("--data", clean, "--outputs", clean / "input", "-o", tmp_path / "wanted").exit_code == 0
    wanted = json.loads((tmp_path / "wanted/summary.json").read_text())
    arguments = ("--data", folder, "--outputs", folder / "input", "-o", tmp_path / "out")
    whole = halved(folder / "input/2.jpg")
    done = run(*arguments)
    assert done.exit_code == 2
    assert "means are over 2 of 3 images: 1 left out" in done.stdout
    left_out, error = done.stderr.splitlines()
    assert left_out.startswith("left out: set-2: ")
    assert "set/input/2.jpg: " in left_out
    assert error.startswith(f"error: {folder}: 1 of 3 images was left out: set-2; expected ")
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["images"], summary["images_found"], list(summary["left_out"])) == (2, 3, ["set-2"])
    (folder / "input/2.jpg").write_bytes(whole)
    judged = []
    monkeypatch.setattr(table, "judge", lambda job, *rest: judged.append(job.case.sample_id) or judge(job, *rest))
    again = run(*arguments)
    assert again.exit_code == 0, again.output
    assert judged == ["set-2"]
    assert "means are over" not in again.stdout
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert {**summary, "recipes": 0} == {**wanted, "recipes": 0}
    assert summary["recipes"]["set"] == wanted["recipes"]["whole"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images.parquet", "summary.json"]


def test_a_changed_target_is_judged_again(tmp_path: Path):
    folder = write_pairs(tmp_path / "set", *((f"input/{n}.png", f"target/{n}.png") for n in (1, 2, 3)))
    arguments = ("--data", folder, "--outputs", folder / "input", "-o", tmp_path / "out")
    halved(folder / "target/3.png")
    assert run(*arguments).exit_code == 2
    (folder / "input/1.png").write_bytes((folder / "target/1.png").read_bytes())
    assert run(*arguments).exit_code == 2
    assert json.loads((tmp_path / "out/summary.json").read_text())["identical"] == 1


def test_where_nothing_can_be_judged_each_file_is_named_and_nothing_written(tmp_path: Path):
    folder = write_pairs(tmp_path / "set", ("input/1.png", "target/1.png"), ("input/2.png", "target/2.png"))
    for number in (1, 2):
        halved(folder / f"input/{number}.png")
    done = run("--data", folder, "--outputs", folder / "input", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "left out: set-2: " in done.stdout
    assert done.stderr.startswith("error: none of 2 images could be judged: set-1: ")
    assert not (tmp_path / "out").exists()


def test_the_pipeline_stops_at_a_broken_file(tmp_path: Path):
    folder = write_pairs(tmp_path / "set", ("input/1.png", "target/1.png"), ("input/2.png", "target/2.png"))
    halved(folder / "input/2.png")
    config = EvaluationConfig(testsets={"mine": {"path": str(folder), "protocol": "cea"}})
    with pytest.raises(InputError, match=r"evaluate\.testsets\.mine: set-2: .*input/2\.png"):
        judge_testsets(Method("x", lambda image: image / 255), config, tmp_path / "state", lambda line: None)


def test_a_broken_photograph_without_a_target_stops_no_other(tmp_path: Path, monkeypatch):
    for number in (1, 2, 3):
        save(tmp_path / f"set/{number}.png", clean_picture(number, 48, 64))
    halved(tmp_path / "set/2.png")
    (tmp_path / "set/4.heic").write_bytes(b"some camera's")
    monkeypatch.setattr(command, "_restorer", lambda *_: Method("x", lambda image: image / 255))
    done = run("--data", tmp_path / "set", "--no-reference", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "means are over 2 of 4 images: 2 left out" in done.stdout
    assert [line.split("/")[-1].split(":")[0] for line in done.stderr.splitlines()[:2]] == ["4.heic", "2.png"]
    assert len(json.loads((tmp_path / "out/photographs.json").read_text())["left_out"]) == 2


def cropped_pair(folder: Path, target: tuple[int, int], size: tuple[int, int], top: int, left: int) -> Path:
    """A clean picture and what is seen of its degraded copy."""
    clean = clean_picture(0, *target)
    save(folder / "gt/1400.png", clean)
    save(folder / "hazy/1400_1.png", degraded_picture(clean)[top : top + size[0], left : left + size[1]])
    return folder


def input_psnr(folder: Path) -> float:
    whole = cropped_pair(folder.parent / "whole", (480, 640), (480, 640), 0, 0)
    done = run("--data", whole, "--outputs", whole / "hazy", "-o", folder.parent / "w", "--no-check")
    assert done.exit_code == 0, done.output
    return json.loads((folder.parent / "w/summary.json").read_text())["input_psnr"]


def test_sots_indoor_is_cropped_at_its_centre_and_it_is_said(tmp_path: Path):
    folder = cropped_pair(tmp_path / "set", (480, 640), (460, 620), 10, 10)
    done = run("--data", folder, "--outputs", folder / "hazy", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "targets of 640x480 are cropped to the 620x460 of their inputs (as SOTS indoor wants it)" in done.stdout
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["input_psnr"] == pytest.approx(input_psnr(folder), abs=0.2)
    assert summary["crop"] == "known"


@pytest.mark.parametrize(("crop", "top", "left"), [("center", 5, 7), ("top-left", 0, 0)])
def test_other_crops_are_stated_and_never_guessed(tmp_path: Path, crop: str, top: int, left: int):
    folder = cropped_pair(tmp_path / "set", (96, 128), (86, 114), top, left)
    says = refusal(folder)
    assert "1400_1.png is 114x86, " in says
    assert "1400.png is 128x96 pixels" in says
    assert f"--crop {crop}, by the looks of it" in says
    done = run("--data", folder, "--outputs", folder / "hazy", "-o", tmp_path / "out", "--crop", crop)
    assert done.exit_code == 0, done.output
    assert f"(--crop {crop})" in done.stdout
    assert json.loads((tmp_path / "out/summary.json").read_text())["input_psnr"] > 15


@pytest.mark.parametrize(("size", "crop"), [((85, 113), "center"), ((97, 128), "center"), ((97, 20), "top-left")])
def test_what_is_no_crop_is_refused(tmp_path: Path, size: tuple[int, int], crop: str):
    save(tmp_path / "set/gt/1.png", clean_picture(0, 96, 128))
    save(tmp_path / "set/hazy/1.png", clean_picture(1, *size))
    done = run("--data", tmp_path / "set", "--outputs", tmp_path / "set/hazy", "-o", tmp_path / "out", "--crop", crop)
    assert done.exit_code == 2
    assert f"1.png is {size[1]}x{size[0]}, " in done.stderr


def test_two_inputs_of_one_name_are_refused(tmp_path: Path):
    folder = write_pairs(tmp_path / "set", ("input/1.png", "target/1.png"), ("input/1.jpg", "target/1.png"))
    assert "both 1.jpg and 1.png" in refusal(folder)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_names_that_are_no_text(tmp_path: Path):
    folder = write_pairs(tmp_path / "set", ("input/1.png", "target/1.png"))
    for name in ("input", "target"):
        (folder / name / "1.png").rename(folder / name / os.fsdecode(b"\xff1.png"))
    assert r"\xff1.png" in refusal(folder)


@pytest.mark.parametrize("name", ["3.heic", "3.CR2", "3.jxl"])
def test_formats_that_are_not_read_are_named(tmp_path: Path, name: str):
    folder = write_pairs(tmp_path / "set", ("input/1.png", "target/1.png"))
    for place in ("input", "target"):
        (folder / place / name).write_bytes(b"some camera's")
    assert f"input/{name}" in refusal(folder)
    done = run("--data", folder, "--outputs", folder / "input", "-o", tmp_path / "out", "--skip-missing")
    assert done.exit_code == 0, done.output
    assert f"input/{name}" in done.output


def test_unknown_folders_say_what_is_there(tmp_path: Path):
    write_pairs(tmp_path / "set", ("left/1.png", "right/1.png"))
    with pytest.raises(InputError, match=r"it holds left, right.*--pairs"):
        find_sets(tmp_path / "set")


def test_a_score_that_is_no_number_names_its_image(tmp_path: Path):
    write_image(tmp_path / "set/thin.png", np.zeros((1, 40, 3), np.uint8))
    write_image(tmp_path / "set/._thin.png", np.zeros((1, 40, 3), np.uint8))
    done = run("--data", tmp_path / "set", "--no-reference", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "set/thin.png: its blur_effect is not a number" in done.stderr
    assert not (tmp_path / "out").exists()
