"""Benchmark sets as cases: real pairs, noise per image, outputs of other methods, journals."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from cea.data.testsets import find_sets
from cea.errors import DataError
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.journal import Journal
from cea.evaluation.judge import Row
from cea.evaluation.table import evaluate
from cea.evaluation.testset import cases_of_sets, with_outputs
from cea.io.images import write_image
from cea.metrics.protocol import PROTOCOLS
from tests.toy_pairs import picture, write_plain_set

CEA, PROMPTIR = PROTOCOLS["cea"], PROTOCOLS["promptir"]


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A plain set of three pairs."""
    return write_plain_set(tmp_path / "mine")


def identity(image):
    return image / 255


def judge(cases, restore=identity, protocol="cea", **options):
    return evaluate(cases, restore, EvaluationConfig(protocol=protocol, **options)).images


def test_cases_of_a_plain_set(pair: Path):
    cases = cases_of_sets(find_sets(pair), CEA)
    assert [case.sample_id for case in cases] == ["mine-0", "mine-1", "mine-2"]
    table = judge(cases)
    assert table["recipe"].unique().to_list() == ["mine"]
    assert table["uniform"].null_count() == 3
    assert table["gain_psnr"].to_numpy() == pytest.approx(0, abs=1e-6)


def test_noise_belongs_to_the_pixels_not_to_names_or_order(tmp_path: Path):
    for number in range(3):
        write_image(tmp_path / f"a/denoise/bsd68/{number}.png", picture(number))
    write_image(tmp_path / "b/denoise/kodak24/zebra.png", picture(1))
    many, one = (cases_of_sets(find_sets(tmp_path / name), PROMPTIR) for name in "ab")
    by_id = {case.sample_id: case.read() for case in (*many, *one)}
    assert (by_id["bsd68-sigma25-1"].degraded == by_id["kodak24-sigma25-zebra"].degraded).all()
    assert (by_id["bsd68-sigma25-1"].degraded != by_id["bsd68-sigma25-2"].degraded).any()
    noise = {s: by_id[f"bsd68-sigma{s}-1"].degraded.astype(float) - picture(1) for s in (15, 50)}
    inside = (picture(1) > 60) & (picture(1) < 190)
    assert abs(np.corrcoef(noise[15][inside], noise[50][inside])[0, 1]) < 0.1


def test_outputs_of_another_method_are_judged_like_ours(pair: Path, tmp_path: Path):
    cases = cases_of_sets(find_sets(pair), CEA)
    for number in range(3):
        write_image(tmp_path / f"out/mine/{number}.png", picture(number) - picture(number) // 8)
    theirs = judge(with_outputs(cases, tmp_path / "out"), None)

    def same(image):
        number = next(n for n in range(3) if (picture(n) // 2 == image).all())
        return (picture(number) - picture(number) // 8) / 255

    assert_frame_equal(theirs, judge(cases, same), abs_tol=1e-9)
    assert (theirs["gain_psnr"] > 5).all()


def test_outputs_may_be_cropped_already(pair: Path, tmp_path: Path):
    cases = cases_of_sets(find_sets(pair), PROMPTIR)
    for number in range(3):
        write_image(tmp_path / f"full/{number}.png", picture(number))
        write_image(tmp_path / f"cropped/{number}.png", np.ascontiguousarray(picture(number)[4:36, 1:49]))
        write_image(tmp_path / f"wrong/{number}.png", np.ascontiguousarray(picture(number)[4:36]))
    for name in ("full", "cropped"):
        table = judge(with_outputs(cases, tmp_path / name), None, "promptir")
        assert table["output_psnr"].to_list() == [100.0] * 3
    with pytest.raises(DataError, match=r"mine-0: images of shapes"):
        judge(with_outputs(cases, tmp_path / "wrong"), None, "promptir")


def test_missing_and_doubled_outputs_are_named(pair: Path, tmp_path: Path):
    cases = cases_of_sets(find_sets(pair), CEA)
    write_image(tmp_path / "out/1.png", picture(1))
    with pytest.raises(DataError, match="no output for 2 of 3 images: mine-0, mine-2"):
        with_outputs(cases, tmp_path / "out")
    (tmp_path / "out/1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1\.jpg.*1\.png"):
        with_outputs(cases[1:2], tmp_path / "out")


def test_size_mismatch_broken_and_tiny_files_are_one_error_each(pair: Path):
    write_image(pair / "input/1.png", picture(1, 41, 50))
    with pytest.raises(DataError, match=r"input/1\.png is 50x41, .*target/1\.png is 50x40 pixels"):
        judge(cases_of_sets(find_sets(pair), CEA))
    (pair / "input/1.png").write_bytes((pair / "input/0.png").read_bytes()[:300])
    with pytest.raises(DataError, match=r"mine-1: .*input/1\.png"):
        judge(cases_of_sets(find_sets(pair), CEA))
    write_image(pair / "input/1.png", picture(1, 9, 50))
    write_image(pair / "target/1.png", picture(1, 9, 50))
    with pytest.raises(DataError, match=r"mine-1: an image of 50x9 .*at least 16"):
        judge(cases_of_sets(find_sets(pair), PROMPTIR), protocol="promptir")


def test_two_sets_of_one_name_are_refused(pair: Path):
    cases = cases_of_sets(find_sets(pair), CEA)
    with pytest.raises(DataError, match="two test images are called 'mine-0'"):
        judge([*cases, *cases])


def test_a_killed_evaluation_goes_on_and_ends_the_same(pair: Path, tmp_path: Path):
    cases = cases_of_sets(find_sets(pair), CEA)
    config = EvaluationConfig(workers=1)
    whole = evaluate(cases, identity, config)
    seen = []

    def dies_at_the_third(image):
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return identity(image)

    path = tmp_path / "journal.jsonl"
    with pytest.raises(KeyboardInterrupt):
        evaluate(cases, dies_at_the_third, config, Journal(path, "k"))
    evaluate(cases[:2], identity, config, Journal(path, "k"))
    with path.open("ab") as file:
        file.write(b'[{"sample_id": "mine-2", "cut sho')
    again = []
    resumed = evaluate(cases, lambda image: again.append(1) or identity(image), config, Journal(path, "k"))
    assert len(again) == 1
    assert_frame_equal(resumed.images, whole.images)
    assert_frame_equal(resumed.bins, whole.bins)
    assert evaluate(cases, None, config, Journal(path, "k")).images.equals(whole.images)
    with pytest.raises(DataError, match="rows of another evaluation"):
        Journal(path, "other weights")


@pytest.mark.parametrize(("protocol", "column"), [("cea", "psnr_rgb"), ("derain-y", "psnr_y")])
def test_real_sets_have_the_known_input(shared: Path, protocol, column):
    rows = list(csv.DictReader((shared / "data/MANIFEST.csv").open()))
    for name in ("rain100l", "lol_our485_subset"):
        known = [float(row[column]) for row in rows if row["set"] == name]
        sets = [found for found in find_sets(shared / "data") if found.name == name]
        table = judge(cases_of_sets(sets, PROTOCOLS[protocol]), identity, protocol, check=False)
        assert len(table) == len(known)
        assert table["input_psnr"].mean() == pytest.approx(np.mean(known), abs=0.01)


def test_a_journal_is_believed_up_to_the_first_damaged_line(tmp_path: Path):
    """Whatever bit is flipped: rows are those that were written, or are judged again; a damaged key is no other's."""
    path = tmp_path / "journal.jsonl"
    rows = [Row({"sample_id": f"s{number}", "gain_psnr": 0.1 * number}, [{"bin": number}]) for number in range(4)]
    journal = Journal(path, "key")
    for row in rows:
        journal.add(row, "files")
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        again = Journal(path, "key")
        kept = max(0, bytes(data[:place]).count(b"\n") - 1)
        found = [again.find(row.image["sample_id"], "files") for row in rows]
        assert found == [*rows[:kept], *[None] * (4 - kept)]
    again.add(rows[3], "files")
    assert Journal(path, "key").find("s3", "files") == rows[3]
