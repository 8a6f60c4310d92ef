"""``cea degrade`` and ``cea gallery``, as a person types them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cea.cli.main import app
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import render
from cea.errors import RecordError
from cea.io.images import read_rgb, write_image
from cea.io.photo import Photo
from cea.io.writer import write_photo
from cea.levels import to_uint8
from cea.testing.degradations import picture


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "in" / "a.png"
    write_image(path, to_uint8(picture((48, 64))))
    return path


def cea(*arguments):
    return CliRunner(env={"COLUMNS": "60"}).invoke(app, list(map(str, arguments)))


def test_picture_maps_and_record(photo, tmp_path):
    out = tmp_path / "out.png"
    result = cea("degrade", photo, "--recipe", "low_haze_rain", "--seed", 3, "-o", out, "--maps", "--record")
    assert result.exit_code == 0, result.output
    record = Record.model_validate_json(out.with_suffix(".json").read_text())
    np.testing.assert_array_equal(render(record, read_rgb(photo)).degraded, read_rgb(out))
    maps = {path.name for path in tmp_path.glob("out.*.png")}
    assert {"out.haze.transmission.png", "out.haze.severity.png", "out.low.sigma.png", "out.rain.mask.png"} <= maps
    rendered = render(record, read_rgb(photo), labels=True)
    transmission = read_rgb(tmp_path / "out.haze.transmission.png")[..., 0] / 65535
    np.testing.assert_allclose(transmission, rendered.labels["haze/transmission"], atol=1e-4)


def test_seed_decides(photo, tmp_path):
    pixels = []
    for seed in (1, 1, 2):
        assert (
            cea("degrade", photo, "--recipe", "aio3/noise25", "--seed", seed, "-o", tmp_path / "o.png").exit_code == 0
        )
        pixels.append(read_rgb(tmp_path / "o.png"))
    np.testing.assert_array_equal(pixels[0], pixels[1])
    assert (pixels[0] != pixels[2]).any()


def test_folder_keeps_its_structure_and_runs_twice(photo, tmp_path):
    folder = photo.parent
    write_image(folder / "deep" / "b.png", to_uint8(picture((20, 30))))
    (folder / "a.bmp").write_bytes(photo.read_bytes())
    out = folder / "results"
    first, second = (cea("degrade", folder, "--recipe", "haze", "-o", out) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert re.findall(r"(\d) left, about \d:\d\d", first.stdout) == ["2", "1"]
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert written == ["a_bmp.png", "a_png.png", "deep/b.png"]


def test_a_folder_goes_on_after_broken_files_and_names_them(photo, tmp_path):
    folder, out = photo.parent, tmp_path / "out"
    whole = photo.read_bytes()
    (folder / "0_cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "deep").mkdir()
    (folder / "deep" / "text.jpg").write_text("not an image")
    result = cea("degrade", folder, "--recipe", "haze", "-o", out)
    assert result.exit_code == 2
    assert [path.name for path in out.rglob("*.png")] == ["a.png"]
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert f"2 of 3 images were left out: 0_cut.png, {Path('deep/text.jpg')}" in last
    assert cea("degrade", folder / "0_cut.png", "--recipe", "haze", "-o", out / "b.png").exit_code == 2


def test_everything_is_processed_or_named_and_a_second_run_resumes(photo, tmp_path):
    folder, out = photo.parent, tmp_path / "out"
    whole = photo.read_bytes()
    for name in ("a.jpg", "a_jpg.png", "._b.png", "Thumbs.db", "c.png/d.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(whole)
    (folder / "e.heic").write_bytes(b"no reader")
    for _ in range(2):
        result = cea("degrade", folder, "--recipe", "haze", "-o", out, "--maps", "--record")
        assert result.exit_code == 2
        assert "left out: e.heic: HEIC is not read here; convert it to PNG or TIFF" in result.stderr
        assert "1 of 5 images was left out: e.heic" in result.stderr.splitlines()[-1]
    assert result.stdout == ""
    assert "4 of 4 were there already" in result.stderr
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.json")}
    assert written == {"a_jpg_2.json", "a_png.json", "a_jpg.json", "c.png/d.json"}
    (out / "a_png.json").unlink()
    assert "a_png.png" in cea("degrade", folder, "--recipe", "haze", "-o", out, "--record").stdout
    for words, says in ((["haze", "--seed", "3"], "seed 0 (now 3)"), (["low"], "haze (now ")):
        other = cea("degrade", folder, "--recipe", *words, "-o", out)
        assert other.exit_code == 2
        assert says in other.stderr
    again = cea("degrade", folder, "--recipe", "haze", "-o", out, "--overwrite")
    assert len([line for line in again.stdout.splitlines() if "PSNR" in line]) == 4


@pytest.mark.parametrize("name", ["o.png", "o.tif", "o.webp", "o.ppm"])
def test_what_the_photograph_had_is_kept_and_what_not_is_said(photo, tmp_path, name):
    deep = (to_uint8(picture((48, 64))).astype(np.uint16) * 257)[..., :1].repeat(3, 2)
    source = Photo(deep, deep[..., 0], grey=True, dpi=(300.0, 300.0))
    write_photo(tmp_path / "in.tif", source)
    out = tmp_path / name
    result = cea("degrade", tmp_path / "in.tif", "--recipe", "aio3/noise25", "-o", out, "--record")
    assert result.exit_code == 0, result.output
    assert "note: reduced to 8 bits" in result.stdout
    assert "note: laid over white" in result.stdout
    record = Record.model_validate_json(out.with_suffix(".json").read_text())
    clean = to_uint8(read_rgb(tmp_path / "in.tif"))
    np.testing.assert_array_equal(render(record, clean).degraded, read_rgb(out))


def test_maps_of_another_aspect_are_refused(photo, tmp_path):
    np.save(tmp_path / "depth.npy", np.linspace(0, 1, 64, dtype=np.float32)[:, None].repeat(48, axis=1))
    result = cea(
        "degrade", photo, "--recipe", "haze", "-o", tmp_path / "o.png",
        "--depth", tmp_path / "depth.npy", "--depth-convention", "inverse",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "a depth map of 48x64 for a photograph of 64x48 pixels; expected the same aspect" in result.stderr


def test_own_depth_and_light(photo, tmp_path):
    depth = np.linspace(0, 1, 48, dtype=np.float32)[:, None].repeat(64, axis=1)
    np.save(tmp_path / "depth.npy", depth)
    write_image(tmp_path / "light.png", np.full((48, 64), 128, np.uint8))
    common = ("degrade", photo, "--recipe", "low_haze", "-o", tmp_path / "o.png", "--maps")
    result = cea(
        *common, "--depth", tmp_path / "depth.npy", "--depth-convention", "inverse", "--light", tmp_path / "light.png",
        "--record",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    record, light = Record.model_validate_json((tmp_path / "o.json").read_text()), np.full((48, 64), 128, np.uint8)
    again = render(record, read_rgb(photo), inverse_depth=depth, light=light)
    np.testing.assert_array_equal(again.degraded, read_rgb(tmp_path / "o.png"))
    with pytest.raises(RecordError, match="a depth map with the digest"):
        render(record, read_rgb(photo), inverse_depth=1 - depth, light=light)
    transmission = read_rgb(tmp_path / "o.haze.transmission.png")[..., 0].astype(int)
    assert transmission[0].max() < transmission[-1].min()  # far above, near below


def test_depth_of_the_wrong_sign_is_pointed_out(photo, tmp_path):
    np.save(tmp_path / "depth.npy", np.linspace(1, 0, 48, dtype=np.float32)[:, None].repeat(64, axis=1))
    result = cea(
        "degrade", photo, "--recipe", "haze", "-o", tmp_path / "o.png",
        "--depth", tmp_path / "depth.npy", "--depth-convention", "inverse",
    )  # fmt: skip
    assert result.exit_code == 0
    assert "warning:" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.png", "--recipe", "haze", "-o", "o.png"), "missing.png"),
        (("PHOTO", "--recipe", "hase", "-o", "o.png"), "did you mean"),
        (("PHOTO", "--recipe", "haze", "-o", "o.jpg"), "not written here"),
        (("PHOTO", "--recipe", "haze", "-o", "PHOTO"), "the photograph itself"),
        (("PHOTO", "--recipe", "haze", "-o", "o.png", "--depth", "PHOTO"), "--depth-convention"),
        (("FOLDER", "--recipe", "haze", "-o", "o", "--light", "PHOTO"), "one photograph"),
        (("EMPTY", "--recipe", "haze", "-o", "o"), "no images"),
        (("PHOTO", "--recipe", "haze", "-o", "o.png", "--params", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_mistakes_are_one_line_and_status_2(photo, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    names = {"PHOTO": photo, "FOLDER": photo.parent, "EMPTY": tmp_path / "empty"}
    result = cea("degrade", *(names.get(word, word) for word in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_recipes_of_the_parameter_file_come_first(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("recipes:\n  mine: {nodes: {jpeg: {quality: 5}}}\n")
    result = cea("degrade", photo, "--recipe", "mine", "-o", tmp_path / "o.png")
    assert result.exit_code == 0, result.output
    assert "quality 5" in result.output


@pytest.mark.parametrize("text", ["stages: {}\n", "a: [1, 2\n", "- 3\n", "recipes: [3]\n", "\x00"])
def test_params_of_another_project_hide_no_shipped_recipe(photo, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(text)
    result = cea("degrade", photo, "--recipe", "aio3/noise25", "-o", tmp_path / "o.png")
    assert result.exit_code == 0, result.output
    refused = cea("degrade", photo, "--recipe", "hase", "-o", tmp_path / "p.png")
    assert refused.exit_code == 2
    assert "the params.yaml here was not read" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_map_of_another_aspect_or_scale_is_refused(photo, tmp_path):
    np.save(tmp_path / "turned.npy", np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(64, 48))
    np.save(tmp_path / "wide.npy", np.linspace(1, 0, 48, dtype=np.float32)[:, None].repeat(64, axis=1) * 90)
    common = ("degrade", photo, "--recipe", "haze", "-o", tmp_path / "o.png", "--depth-convention", "inverse")
    turned = cea(*common, "--depth", tmp_path / "turned.npy")
    assert turned.exit_code == 2
    assert "48x64" in turned.stderr
    assert "64x48" in turned.stderr
    assert cea(*common, "--depth", tmp_path / "wide.npy").exit_code == 2
    assert cea(*common, "--depth", tmp_path / "wide.npy", "--depth-scale", 90).exit_code == 0
    assert "above 0" in cea(*common, "--depth", tmp_path / "wide.npy", "--depth-scale", 0).stderr


def test_every_line_fits_sixty_columns(photo, tmp_path):
    # In a process of its own: the test runner fixes the width at 80.
    command = "import cea.cli.main as c, sys; [c.app(a.split(), standalone_mode=False) for a in sys.argv[1:]]"
    calls = ("degrade --help", "gallery --help", f"degrade {photo} --recipe real/mixed -o o.png --uneven")
    environment = {**os.environ, "COLUMNS": "60"}
    printed = subprocess.run(
        [sys.executable, "-c", command, *calls],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "--depth-convention" in printed
    assert max(len(line) for line in printed.splitlines()) <= 60, printed


@pytest.mark.slow
def test_gallery_draws_both_sheets(photo, tmp_path):
    result = cea("gallery", "-o", tmp_path / "g", "--photo", photo, "--width", 64)
    assert result.exit_code == 0, result.output
    families, recipes = (read_rgb(tmp_path / "g" / name) for name in ("families.jpg", "recipes.jpg"))
    assert families.shape[1] == 6 * (64 + 2)
    assert recipes.shape[0] > 10 * 64


def test_a_record_is_replayed(photo, tmp_path):
    out, again = tmp_path / "out.png", tmp_path / "again.png"
    assert (
        cea("degrade", photo, "--recipe", "real/night", "--seed", 3, "--uneven", "-o", out, "--record").exit_code == 0
    )
    done = cea("degrade", photo, "--replay", out.with_suffix(".json"), "-o", again, "--record", "--maps")
    assert done.exit_code == 0, done.output
    assert again.read_bytes() == out.read_bytes()
    assert again.with_suffix(".json").read_bytes() == out.with_suffix(".json").read_bytes()
    assert list(tmp_path.glob("again.*.severity.png"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "neither --recipe nor --replay; expected one of them"),
        (["--replay", "R", "--recipe", "haze"], "--recipe with --replay; expected the record alone"),
        (["--replay", "R", "--seed", "0"], "--seed with --replay"),
        (["--replay", "R", "--uneven"], "--uneven with --replay"),
        (["--replay", "gone.json"], "gone.json: No such file"),
        (["--replay", "OTHER"], "expected those that the record was drawn for"),
        (["--replay", "TEXT"], "expected a record as cea degrade --record"),
        (["--replay", "LIST"], "list.json: recipe: "),
        (["--replay", "PAGE"], "page.json: restored a photograph, and degraded none"),
        (["--replay", "FIELD"], "field.json: its fields are damaged; expected grey PNG in Base64"),
    ],
)
def test_a_record_that_cannot_be_replayed_is_one_line(photo, tmp_path, arguments, says):
    out = tmp_path / "out.png"
    assert cea("degrade", photo, "--recipe", "haze", "-o", out, "--record").exit_code == 0
    record = json.loads(out.with_suffix(".json").read_text())
    files = {
        "R": record,
        "OTHER": record | {"clean_sha256": "0" * 64},
        "LIST": record | {"recipe": [1]},
        "PAGE": {"format": "cea-page-1", "degradation": None},
        "FIELD": {"format": "cea-page-1", "degradation": record, "fields": {"haze": "%%"}},
    }
    for name, value in files.items():
        (tmp_path / f"{name.lower()}.json").write_text(json.dumps(value))
    (tmp_path / "text.json").write_text("{")
    paths = {name: tmp_path / f"{name.lower()}.json" for name in [*files, "TEXT"]}
    done = cea("degrade", photo, *(paths.get(word, word) for word in arguments), "-o", tmp_path / "again.png")
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "again.png").exists()


def test_a_record_belongs_to_one_photograph(photo, tmp_path):
    done = cea("degrade", photo.parent, "--replay", tmp_path / "a.json", "-o", tmp_path / "o")
    assert done.exit_code == 2
    assert "--replay with a folder; expected one photograph" in done.stderr


def test_programs_get_the_record(photo, tmp_path):
    done = cea("degrade", photo.parent, "--recipe", "haze", "-o", tmp_path / "out", "--json")
    (one,) = json.loads(done.stdout)["written"]
    record = Record.model_validate_json(json.dumps(one["record"]))
    np.testing.assert_array_equal(render(record, read_rgb(photo)).degraded, read_rgb(Path(one["target"])))
    assert 0 < one["psnr"] < 100
