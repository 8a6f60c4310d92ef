"""One walk and one rule of names: every file is processed or named, and no two results meet."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from cea.errors import DataError, ImageError
from cea.io import outputs, sequences
from cea.io.images import write_bytes
from cea.io.outputs import PictureJob, plan_outputs, process
from cea.io.results import RECORD
from cea.io.walk import LeftOut, Other, find_pictures, walk

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
SUFFIXES = {".png", ".tif"}


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PNG)
    return folder


def targets(folder: Path, out: Path, **options) -> dict[str, str]:
    jobs = plan_outputs([folder], out, SUFFIXES, **options).jobs
    return {j.source.relative_to(folder).as_posix(): j.target.relative_to(out).as_posix() for j in jobs}


def test_what_a_folder_holds(tmp_path: Path):
    folder = fill(tmp_path / "in", "a.jpg", "b/c.png", "d.png/e.png", ".f.png", "._a.jpg", ".g/h.png", "Thumbs.db")
    fill(folder, "no_suffix", "i.heic", "j.cr2", "__MACOSX/k.png", "out/l.png")
    (folder / "notes.txt").write_text("none")
    (folder / "far.png").symlink_to(fill(tmp_path, "elsewhere.png") / "elsewhere.png")
    (folder / "dead.png").symlink_to(tmp_path / "nowhere")
    (folder / "linked").symlink_to(fill(tmp_path / "other", "m.png"))
    (folder / "b/loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    (folder / os.fsdecode(b"n\xff.png")).write_bytes(PNG)
    found = find_pictures(folder, without=folder / "out")
    names = [path.relative_to(folder).as_posix() for path in found.pictures]
    assert names == ["a.jpg", "b/c.png", "d.png/e.png", "far.png", "linked/m.png", "no_suffix"]
    assert {entry.path.name: entry.reason.split(";")[0] for entry in found.left_out} == {
        "dead.png": "a link that leads nowhere",
        "loop": "a link to a folder that it lies in",
        "pipe.png": "not a regular file",
        "i.heic": "HEIC is not read here",
        "j.cr2": "CR2 is not read here",
        os.fsdecode(b"n\xff.png"): "its name is not UTF-8",
    }
    assert [path.name for path in found.others] == ["notes.txt"]


@pytest.mark.parametrize("run", [2, 65536])
def test_what_is_walked_one_by_one_has_the_order_of_all_at_once(tmp_path: Path, monkeypatch, run: int):
    """Names that a slash sorts elsewhere: "a-b/c" is before "a/c", and "a.png" is, too."""
    monkeypatch.setattr(sequences, "_RUN", run)
    names = ["a/x.png", "a/c/d.png", "a-b/c.png", "a.png", "a.png.d/e.png", "aa/b.png", "a0.png", "ö/😀.png", "字.png"]
    unread = ["a/h.heic", "a-b/h.heic", "a.heic", "a.heif/j.heic"]
    folder = fill(tmp_path, *names, *unread)
    others = [folder / name for name in ("a/n.txt", "a-b/n.txt", "a.txt")]
    for path in others:
        path.write_text("none")
    found = find_pictures(folder)
    assert [path.relative_to(folder).as_posix() for path in found.pictures] == sorted(names)
    assert [each.path for each in found.left_out] == sorted(folder / name for name in unread)
    assert found.others == sorted(others)
    assert [each for each in walk(folder) if not isinstance(each, LeftOut | Other)] == found.pictures


def test_a_locked_folder_is_named_and_the_rest_goes_on(tmp_path: Path, monkeypatch):
    folder = fill(tmp_path, "a.png", "locked/b.png")
    listed = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_pictures(folder)
    assert [path.name for path in found.pictures] == ["a.png"]
    assert [(entry.path.name, entry.reason.split(";")[0]) for entry in found.left_out] == [
        ("locked", "Permission denied")
    ]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a.jpg", "b.png"], ["a.png", "b.png"]),
        (["a.jpg", "a.png", "a_jpg.png"], ["a_jpg_2.png", "a_png.png", "a_jpg.png"]),
        (["A.jpg", "a.jpg"], ["A_jpg.png", "a_jpg_2.png"]),
        (["a.jpg", "a.png/b.png"], ["a_jpg.png", "a.png/b.png"]),
        ([unicodedata.normalize(form, "é.jpg") for form in ("NFD", "NFC")], ["e\u0301_jpg.png", "\xe9_jpg_2.png"]),
        (["a", "a.png"], ["a_.png", "a_png.png"]),
    ],
)
def test_no_two_results_meet(tmp_path: Path, names: list[str], wanted: list[str]):
    given = targets(fill(tmp_path / "in", *names), tmp_path / "out")
    assert given == dict(zip(names, wanted, strict=True))


def test_results_do_not_meet_the_maps_of_others(tmp_path: Path):
    folder = fill(tmp_path / "in", "a.png", "a.haze.severity.jpg", "c.d.png")
    assert targets(folder, tmp_path / "out", beside=True) == {
        "a.png": "a.png",
        "a.haze.severity.jpg": "a_haze_severity_jpg.png",
        "c.d.png": "c.d.png",
    }


def refused(*arguments, **options) -> str:
    with pytest.raises((DataError, ImageError)) as caught:
        plan_outputs(*arguments, SUFFIXES, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_place_that_will_not_do_is_refused_before_the_work(tmp_path: Path, monkeypatch):
    photo, folder = fill(tmp_path, "a.png") / "a.png", fill(tmp_path / "in", "b.png")
    (tmp_path / "file").write_text("in the way")
    assert "the photograph itself" in refused([photo], photo)
    assert "is the folder of the photographs itself" in refused([folder], folder)
    assert "is a file" in refused([folder], tmp_path / "file")
    assert "Not a directory" in refused([folder], tmp_path / "file/deeper")
    assert "Not a directory" in refused([photo], tmp_path / "file/b.png")
    assert "too long" in refused([photo], tmp_path / f"{'影' * 84}.png")
    assert "not written here" in refused([photo], tmp_path / "b.xyz")
    assert "names one file" in refused([folder], tmp_path / "b.png")
    assert "no such file" in refused([tmp_path / "absent.png"], tmp_path / "b.png")
    assert "not UTF-8" in refused([tmp_path / os.fsdecode(b"\xff.png")], tmp_path / "b.png")
    assert "no images among 1 other files" in refused([_with_text(tmp_path / "empty")], tmp_path / "o")
    assert "would be written over" in refused([fill(tmp_path / "in", "in/b.png")], tmp_path)
    assert not (tmp_path / "o").exists()
    monkeypatch.setattr(outputs.tempfile, "TemporaryFile", _read_only)
    assert "Read-only file system" in refused([photo], tmp_path / "new/b.png")


def _with_text(folder: Path) -> Path:
    folder.mkdir()
    (folder / "notes.txt").write_text("none")
    return folder


def _read_only(**_):
    raise OSError(30, "Read-only file system")


def test_long_names_work_to_the_last_byte_and_are_named_above(tmp_path: Path):
    folder = fill(tmp_path / "in", f"{'影' * 82}.png", f"{'a' * 250}.jpg", f"{'b' * 251}.gif", "c.tif")
    plan = plan_outputs([folder], tmp_path / "out", SUFFIXES, default=".tiff")
    assert [job.source.name[0] for job in plan.jobs] == ["a", "c", "影"]
    assert {entry.path.name[0] for entry in plan.left_out} == {"b"}
    for job in plan.jobs:
        write_bytes(job.target, b"done")
    assert all(job.target.read_bytes() == b"done" for job in plan.jobs)


def test_an_output_inside_its_input_is_not_read_again(tmp_path: Path):
    folder = fill(tmp_path, "a.jpg")
    for _ in range(2):
        assert targets(folder, folder / "results") == {"a.jpg": "a.png"}
        fill(folder, "results/a.png")


def test_one_photograph_goes_into_a_folder_that_is_there(tmp_path: Path):
    photo = fill(tmp_path, "a.jpg") / "a.jpg"
    (tmp_path / "out").mkdir()
    assert plan_outputs([photo], tmp_path / "out", SUFFIXES).jobs == (PictureJob(photo, tmp_path / "out/a.png"),)


def test_the_rest_goes_on_and_a_second_run_resumes(tmp_path: Path):
    folder, out = fill(tmp_path / "in", "a.png", "b.png", "c.png", "d.heic"), tmp_path / "out"
    done, said = [], []

    def work(job: PictureJob) -> None:
        if job.source.name == "b.png":
            raise ImageError(f"{job.source}: truncated", expected="a whole file", remedy="replace it")
        done.append(job.source.name)
        write_bytes(job.target, b"done")

    for overwrite, wanted in ((False, ["a.png", "c.png"]), (False, []), (True, ["a.png", "c.png"])):
        done.clear(), said.clear()
        with pytest.raises(ImageError, match=r"2 of 4 images were left out: d\.heic, b\.png"):
            process(plan_outputs([folder], out, SUFFIXES), work, said.append, settings={}, overwrite=overwrite)
        assert done == wanted
        assert said[-2:] == [
            "left out: d.heic: HEIC is not read here; convert it to PNG or TIFF",
            "left out: b.png: truncated; expected a whole file; replace it",
        ]
    assert sorted(path.name for path in out.iterdir()) == [RECORD, "a.png", "c.png"]


def made_by(folder: Path, out: Path, settings: dict[str, object], *, overwrite: bool = False) -> list[str]:
    """Names of the photographs that were worked on; each result holds its settings."""
    done = []

    def work(job: PictureJob) -> None:
        done.append(job.source.name)
        write_bytes(job.target, repr(settings).encode())

    process(plan_outputs([folder], out, SUFFIXES), work, print, settings=settings, overwrite=overwrite)
    return done


def test_results_of_other_settings_are_never_kept_in_silence(tmp_path: Path):
    folder, out = fill(tmp_path / "in", "a.png", "b.png"), tmp_path / "out"
    assert made_by(folder, out, {"strength": "1", "weights": "f" * 64}) == ["a.png", "b.png"]
    assert made_by(folder, out, {"strength": "1", "weights": "f" * 64}) == []
    for other, says in (
        ({"strength": "0.5", "weights": "f" * 64}, r"made with strength 1 \(now 0\.5\); "),
        ({"strength": "1", "weights": "0" * 64}, r"made with weights f{12} \(now 0{12}\); "),
        ({"strength": "1"}, r"made with weights f{12} \(now none\); "),
    ):
        fill(folder, "c.png")
        with pytest.raises(
            DataError, match=r"out/a\.png is there already, " + says + ".*another folder, or --overwrite"
        ):
            made_by(folder, out, other)
        assert not (out / "c.png").exists(), "nothing is done"
    assert made_by(folder, out, {"strength": "0.5"}, overwrite=True) == ["a.png", "b.png", "c.png"]
    assert made_by(folder, out, {"strength": "0.5"}) == []
    assert (out / "a.png").read_bytes() == b"{'strength': '0.5'}"


def test_a_photograph_that_changed_is_worked_on_again(tmp_path: Path):
    folder, out = fill(tmp_path / "in", "a.png", "b.png"), tmp_path / "out"
    made_by(folder, out, {})
    (folder / "b.png").write_bytes(b"another")
    assert made_by(folder, out, {}) == ["b.png"]
    folder.rename(tmp_path / "moved")
    assert made_by(tmp_path / "moved", out, {}) == [], "a folder may be moved"
    fill(tmp_path / "others", "a.png")
    (tmp_path / "others/a.png").write_bytes(b"of the same name")
    with pytest.raises(DataError, match=r"made from .*in/a\.png, not from .*others/a\.png"):
        made_by(tmp_path / "others", out, {})


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe{", b'{"result": "a.png"}\n', b"[" * 10**5])
def test_what_no_record_names_is_not_taken_for_a_result(tmp_path: Path, damage: bytes):
    folder, out = fill(tmp_path / "in", "a.png"), fill(tmp_path / "out", "a.png")
    (out / RECORD).write_bytes(damage)
    with pytest.raises(DataError, match=r"a\.png is there already, and nothing says how it was made"):
        made_by(folder, out, {})
    assert made_by(folder, out, {}, overwrite=True) == ["a.png"]
    assert made_by(folder, out, {}) == []


def test_a_failed_write_says_why_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(DataError, match=r"a\.png: Is a directory; expected a file, not a folder"):
        write_bytes(tmp_path / "a.png", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
