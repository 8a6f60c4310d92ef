"""Shards: the same bytes on every run, readable by webdataset and by byte ranges, whole or absent, checked."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import pickle
import signal
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import webdataset

from cea.data import clean as clean_module
from cea.data import packing, shards, workers
from cea.data.archive import TarWriter, read_members
from cea.data.clean import TABLE, CleanRows, read_clean
from cea.data.packing import ShardConfig, select, select_from, write_empty, write_shards
from cea.data.reading import read_pair, read_sample
from cea.data.records import SynthesizeConfig, Variants, draw_table, to_record
from cea.data.shards import INDEX, Rows, read_index, read_part, write_index
from cea.data.summary import read_summary
from cea.data.verification import verify
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.render import render
from cea.errors import DataError
from cea.io import tables
from cea.io.images import encode_png, pixel_sha256
from cea.io.tables import read_parts, write_table

CONFIG = ShardConfig(samples_per_tar=3)


@pytest.fixture(scope="module")
def table(clean_folder) -> pl.DataFrame:
    recipe = RecipeConfig(order="cdd11", nodes={"low": {}, "haze": {}})
    config = SynthesizeConfig(train=Variants(photograph=3, leaves=2), tile=48)
    return draw_table(read_clean(clean_folder), "low_haze", recipe, config, 5)


@pytest.fixture(scope="module")
def train(table, clean_folder) -> pl.DataFrame:
    return select(table, read_clean(clean_folder), "train")


@pytest.fixture(scope="module")
def made(train, clean_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "low_haze"
    write_shards(folder, train, clean_folder, CONFIG)
    return folder


@pytest.fixture
def copy(made, tmp_path) -> Path:
    """A copy of the shards that a test may damage."""
    subprocess.run(["cp", "-r", str(made), str(tmp_path / "copy")], check=True)
    return tmp_path / "copy"


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_files_and_index(made, train):
    index = read_index(made)
    assert sorted(path.name for path in made.iterdir()) == [
        "000000.tar",
        "000001.tar",
        "000002.tar",
        "index.json",
        "index.parquet",
    ]
    assert dict(index.schema) == INDEX
    assert index["sample_id"].to_list() == train["sample_id"].to_list()
    assert index["tar"].value_counts(sort=True)["count"].to_list() == [3, 3, 2]
    assert index["components"].to_list() == [["low", "haze"]] * 8


def test_samples_are_what_rendering_their_record_gives(made, train, clean_folder):
    for row, drawn in zip(read_index(made).iter_rows(named=True), train.iter_rows(named=True), strict=True):
        sample = read_sample(made, row)
        record = to_record(sample.record)
        assert record == to_record(drawn)
        clean = packing.load_clean(clean_folder, drawn["file"], drawn["depth_file"], drawn["clean_sha256"])
        again = render(record, clean.rgb, inverse_depth=clean.inverse_depth)
        assert np.array_equal(sample.clean, again.clean)
        assert np.array_equal(sample.degraded, again.degraded)
        assert sample.severity.shape == (2, 48, 48)
        assert np.abs(sample.severity / 255 - again.severity).max() <= 0.5 / 255 + 1e-6
        assert row["clean_sha256"] == pixel_sha256(sample.clean)
        assert row["degraded_sha256"] == pixel_sha256(sample.degraded)
        clean_again, degraded_again = read_pair(made, row)
        assert np.array_equal(clean_again, sample.clean)
        assert np.array_equal(degraded_again, sample.degraded)


def test_whole_images_in_evaluation_shards(table, clean_folder, tmp_path):
    write_shards(tmp_path / "test", select(table, read_clean(clean_folder), "test"), clean_folder, CONFIG)
    rows = read_index(tmp_path / "test").to_dicts()
    assert {(row["clean_id"], row["height"], row["width"]) for row in rows} == {("i3", 96, 80)}


def test_same_bytes_with_two_workers_and_after_leftovers(made, train, clean_folder, tmp_path):
    folder = tmp_path / "low_haze"
    folder.mkdir()
    (folder / "000007.tar").write_bytes(b"from an earlier, longer run")
    (tmp_path / ".low_haze.partial").mkdir()
    (tmp_path / ".low_haze.partial" / "000000.tar").write_bytes(b"from a killed run")
    write_shards(folder, train, clean_folder, CONFIG, workers=2)
    assert _digests(folder) == _digests(made)
    assert [path.name for path in tmp_path.iterdir()] == ["low_haze"]


def test_pixels_do_not_depend_on_how_samples_are_packed(made, train, clean_folder, tmp_path):
    write_shards(tmp_path / "one", train, clean_folder, ShardConfig(samples_per_tar=100))
    one, three = (json.loads((folder / "index.json").read_text()) for folder in (tmp_path / "one", made))
    assert one["pixels_sha256"] == three["pixels_sha256"]
    assert (len(one["tars"]), len(three["tars"])) == (1, 3)


def test_tars_are_plain_and_timeless(made):
    with tarfile.open(made / "000000.tar") as tar:
        members = tar.getmembers()
    assert [member.name.partition(".")[2] for member in members[:4]] == [
        "clean.png",
        "degraded.png",
        "severity.png",
        "record.json",
    ]
    for member in members:
        assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644)
        assert not member.pax_headers
    assert (made / "000000.tar").stat().st_size % tarfile.RECORDSIZE == 0


def test_the_index_gives_the_byte_ranges_of_the_members(made):
    for row in read_index(made).iter_rows(named=True):
        with tarfile.open(made / row["tar"]) as tar:
            for part, suffix in (("clean", "png"), ("degraded", "png"), ("severity", "png"), ("record", "json")):
                member = tar.extractfile(f"{row['sample_id']}.{part}.{suffix}")
                assert member is not None
                assert member.read() == read_part(made, row, part)


def test_webdataset_reads_them(made):
    urls = [str(path) for path in sorted(made.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    rows = read_index(made).to_dicts()
    assert [sample["__key__"] for sample in samples] == [row["sample_id"] for row in rows]
    for sample, row in zip(samples, rows, strict=True):
        assert pixel_sha256(sample["clean.png"]) == row["clean_sha256"]
        assert pixel_sha256(sample["degraded.png"]) == row["degraded_sha256"]
        assert sample["record.json"]["sample_id"] == row["sample_id"]


def test_the_summary_counts_samples_and_bytes(made):
    summary = json.loads((made / "index.json").read_text())
    assert summary["samples"] == 8
    assert summary["bytes"] == sum(path.stat().st_size for path in made.glob("*.tar"))
    assert [facts["samples"] for facts in summary["tars"].values()] == [3, 3, 2]


def test_intact_shards_verify(made):
    verify(made)


def test_a_flipped_byte_is_found_by_name(copy):
    row = read_index(copy).row(4, named=True)
    with (copy / row["tar"]).open("r+b") as file:
        file.seek(row["degraded_offset"] + row["degraded_size"] // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))
    with pytest.raises(DataError, match=rf"000001\.tar: the (degraded|pixels) of sample '{row['sample_id']}'"):
        verify(copy)


def test_a_tar_cut_short_or_missing_is_named(copy):
    tar = copy / "000001.tar"
    os.truncate(tar, 5000)
    with pytest.raises(DataError, match=r"000001\.tar: 5000 bytes; expected \d+ bytes; make the shards again"):
        read_index(copy)
    tar.unlink()
    with pytest.raises(DataError, match=r"000001\.tar: missing"):
        read_index(copy)


def test_a_tar_that_vanishes_after_the_index_was_read_is_named(copy):
    row = read_index(copy).row(0, named=True)
    os.truncate(copy / row["tar"], 1000)
    with pytest.raises(DataError, match=r"000000\.tar: the clean of sample .* is damaged"):
        read_pair(copy, row)
    (copy / row["tar"]).unlink()
    with pytest.raises(DataError, match=r"000000\.tar: No such file"):
        read_pair(copy, row)


def test_folders_that_hold_no_shards_of_ours_are_named(copy, tmp_path):
    with pytest.raises(DataError, match=r"index\.parquet: no such file"):
        read_index(tmp_path)
    (copy / "index.json").write_text('{"shards": 3}')
    with pytest.raises(DataError, match=r"index\.json: not a summary of shards; expected format 1"):
        read_index(copy)
    (copy / "index.json").unlink()
    with pytest.raises(DataError, match=r"index\.json: no such file"):
        read_index(copy)
    pl.DataFrame({"key": [1]}).write_parquet(copy / "index.parquet")
    with pytest.raises(DataError, match=r"columns sample_id, tar, .* are missing"):
        read_index(copy)


def test_no_samples_are_an_error(train, clean_folder, tmp_path):
    with pytest.raises(DataError, match="no samples to render"):
        write_shards(tmp_path / "none", train.head(0), clean_folder, CONFIG)


def test_an_empty_folder_is_one_of_shards_and_replaces_an_old_one(copy):
    write_empty(copy)
    assert read_index(copy).schema == pl.Schema(INDEX)
    assert len(read_index(copy)) == 0
    assert sorted(path.name for path in copy.iterdir()) == ["index.json", "index.parquet"]
    assert json.loads((copy / "index.json").read_text())["samples"] == 0


def test_records_of_other_clean_images_are_refused(table, clean_folder):
    others = read_clean(clean_folder).with_columns(sha256=pl.lit("0" * 64))
    with pytest.raises(DataError, match=r"clean image 'i0' of sample .* is not in the clean table"):
        select(table, others, "train")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_message_and_leaves_nothing(train, clean_folder, tmp_path, workers):
    """A file-size limit of the operating system, so that a write really fails, in this process or a worker."""
    code = f"""
import resource, sys
from pathlib import Path
import polars as pl
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
from cea.data.packing import *
from cea.errors import DataError
records = pl.read_parquet(sys.argv[1])
try:
    write_shards(Path(sys.argv[2]), records, Path(sys.argv[3]), ShardConfig(samples_per_tar=4), workers={workers})
except DataError as error:
    print(error)
"""
    train.write_parquet(tmp_path / "records.parquet")
    arguments = [str(tmp_path / "records.parquet"), str(tmp_path / "out"), str(clean_folder)]
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert "out: File too large; expected a smaller file; write elsewhere" in run.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["records.parquet"]


def test_no_space_left_keeps_the_former_shards(made, train, clean_folder, copy, monkeypatch):
    def no_room(self: TarWriter, name: str, data: bytes) -> tuple[int, int]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TarWriter, "add", no_room)
    with pytest.raises(DataError, match="No space left on device"):
        write_shards(copy, train, clean_folder, CONFIG)
    assert _digests(copy) == _digests(made)


def test_a_killed_run_is_made_good_by_the_next(made, train, clean_folder, tmp_path):
    code = """
import sys, time
from pathlib import Path
import polars as pl
from cea.data import packing
add = packing.TarWriter.add
def slowly(*args):
    time.sleep(0.05)
    return add(*args)
packing.TarWriter.add = slowly
config = packing.ShardConfig(samples_per_tar=3)
packing.write_shards(Path(sys.argv[2]), pl.read_parquet(sys.argv[1]), Path(sys.argv[3]), config)
"""
    train.write_parquet(tmp_path / "records.parquet")
    out = tmp_path / "out" / "low_haze"
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "records.parquet"), str(out), str(clean_folder)])
    deadline = time.monotonic() + 60
    while not list(out.parent.glob(".low_haze.partial/000001.tar")) and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert [path.name for path in out.parent.iterdir()] == [".low_haze.partial"]
    write_shards(out, train, clean_folder, CONFIG)
    assert _digests(out) == _digests(made)
    assert [path.name for path in out.parent.iterdir()] == ["low_haze"]


def test_memory_does_not_grow_with_the_number_of_samples(table, clean_folder, tmp_path):
    """Fifty times the samples, whose pixels would take 10 MB: the peak stays where it was."""

    def peak(records: pl.DataFrame) -> float:
        tracemalloc.start()
        write_shards(tmp_path / "out", records, clean_folder, CONFIG)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most / 2**20

    few = select(table, read_clean(clean_folder), "test")
    many = pl.concat([few.with_columns(sample_id=pl.col("sample_id") + f"x{copy}") for copy in range(50)])
    peak(few)  # whatever is kept for good, such as tables
    assert peak(many) < peak(few) + 1


def test_a_slow_disk_holds_the_workers_back(table, clean_folder, tmp_path, monkeypatch):
    """Samples wait in memory for no more than a few jobs, however many are still to be rendered."""
    test = select(table, read_clean(clean_folder), "test")
    many = pl.concat([test.with_columns(sample_id=pl.col("sample_id") + f"x{copy}") for copy in range(12)])
    begun = tmp_path / "begun"
    begun.mkdir()
    render_job, write_sample, waiting = packing._render_job, packing.write_sample, []

    def rendering(job):
        (begun / job.rows[0]["sample_id"]).touch()
        return render_job(job)

    def writing(*arguments):
        time.sleep(0.02)
        waiting.append(len(list(begun.iterdir())) - len(waiting))
        return write_sample(*arguments)

    monkeypatch.setattr(workers, "_AHEAD", 2)
    monkeypatch.setattr(packing, "_render_job", rendering)
    monkeypatch.setattr(packing, "write_sample", writing)
    write_shards(tmp_path / "out", many, clean_folder, CONFIG, workers=2)
    assert len(waiting) == len(many) > 20
    assert max(waiting) <= 2 * 2


def test_rows_are_those_of_the_index_also_in_another_process(made):
    index = read_index(made)
    rows = Rows(index.iter_slices(3))
    again = pickle.loads(pickle.dumps(rows))
    del rows
    for one in (again, Rows([index])):
        assert [one[number] for number in range(len(one))] == index.to_dicts()
        assert one[-1] == index.row(-1, named=True)
        with pytest.raises(IndexError):
            one[len(index)]
        assert [row["sample_id"] for row in one.of_tar("000001.tar")] == index.filter(tar="000001.tar")[
            "sample_id"
        ].to_list()
        assert list(one.of_tar("none.tar")) == []
        assert not one.equal("tile_tar", "000001.tar").any()
        assert one.components() == index["components"].unique(maintain_order=True).to_list()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(again.__getitem__, (2,)) == index.row(2, named=True)
    assert len(Rows([])) == 0


@pytest.mark.parametrize("group", [1, 2, 100])
def test_records_are_read_in_parts_as_they_are_at_once(table, train, clean_folder, tmp_path, monkeypatch, group):
    monkeypatch.setattr(tables, "_ROWS", 3)
    write_table(tmp_path / "records.parquet", table)
    clean = read_clean(clean_folder)
    clean.write_parquet(tmp_path / TABLE, row_group_size=group)
    found = select_from(tmp_path / "records.parquet", tmp_path, "train")
    assert list(found.rows()) == list(found.rows()) == train.to_dicts()
    assert (found.count, found.tiled) == (len(train), True)
    assert not select_from(tmp_path / "records.parquet", tmp_path, "test").tiled
    clean.tail(1).write_parquet(tmp_path / TABLE)
    with pytest.raises(DataError, match="is not in the clean table; expected records drawn from this clean table"):
        select_from(tmp_path / "records.parquet", tmp_path, "train")
    clean.reverse().write_parquet(tmp_path / TABLE, row_group_size=group)
    with pytest.raises(DataError, match=r"clean\.parquet: not ordered by id; expected .*; run the ingest stage"):
        select_from(tmp_path / "records.parquet", tmp_path, "train")


def test_few_row_groups_of_the_clean_table_are_in_memory(clean_folder, tmp_path, monkeypatch):
    clean = read_clean(clean_folder)
    clean.write_parquet(tmp_path / TABLE, row_group_size=1)
    rows, read = CleanRows(tmp_path, ("id", "width")), []
    monkeypatch.setattr(
        clean_module, "read_parts", lambda *given, **options: read.append(options) or read_parts(*given, **options)
    )
    assert rows.among(clean["id"][2:4]).equals(clean[2:4].select("id", "width"))
    assert rows.among(clean["id"][2:4]).equals(clean[2:4].select("id", "width"))
    assert [options["groups"] for options in read] == [[2], [3]]


def test_the_index_does_not_show_in_how_many_parts_it_was_made(made, train, clean_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_ROWS", 3)
    write_shards(tmp_path / "low_haze", train, clean_folder, CONFIG)
    assert _digests(tmp_path / "low_haze") == _digests(made)


def test_a_name_too_long_for_a_tar_is_refused(tmp_path):
    with (
        TarWriter(tmp_path / "a.tar") as tar,
        pytest.raises(DataError, match="is 104 bytes long; expected at most 100"),
    ):
        tar.add("n" * 100 + ".png", b"")


def test_work_is_cut_finer_than_tars(made, train, clean_folder, tmp_path, monkeypatch):
    """One tar of all samples still keeps two workers busy, and the bytes do not show how work was cut."""
    sizes, delayed = [], workers.delayed
    monkeypatch.setattr(packing, "_TILES_PER_JOB", 2)
    monkeypatch.setattr(workers, "delayed", lambda work: lambda job: sizes.append(len(job.rows)) or delayed(work)(job))
    write_shards(tmp_path / "one", train, clean_folder, ShardConfig(samples_per_tar=100), workers=2)
    assert sizes == [2, 2, 2, 2]
    write_shards(tmp_path / "three", train, clean_folder, CONFIG, workers=2)
    assert _digests(tmp_path / "three") == _digests(made)


def _as_index(copy, **columns) -> None:
    """An index with other values, of which its summary knows nothing."""
    pl.read_parquet(copy / "index.parquet").with_columns(**columns).write_parquet(copy / "index.parquet")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"tar": pl.lit("../secret.tar")}, "places outside the tars"),
        ({"clean_offset": pl.lit(1 << 40, pl.Int64)}, "places outside the tars"),
        ({"record_size": pl.lit(-1, pl.Int64)}, "places outside the tars"),
        ({"clean_offset": pl.lit(2**63 - 1), "clean_size": pl.lit(2**63 - 1)}, "places outside the tars"),
        ({"clean_offset": pl.lit(2**63 - 6), "clean_size": pl.lit(1 << 45, pl.Int64)}, "places outside the tars"),
        ({"clean_offset": pl.lit(100, pl.Int64), "clean_size": pl.lit(2**63 - 1)}, "places outside the tars"),
        (
            {
                "height": pl.lit(1 << 30, pl.Int32),
                "width": pl.lit(1 << 30, pl.Int32),
                "n_components": pl.lit(16, pl.Int32),
            },
            "sizes that no picture has",
        ),
        ({"height": pl.lit(1_000_000, pl.Int32), "width": pl.lit(1_000_000, pl.Int32)}, "sizes that no picture has"),
        ({"n_components": pl.lit(10_000, pl.Int32)}, "sizes that no picture has"),
        ({"clean_sha256": pl.lit(None, pl.String)}, "sizes that no picture has"),
        ({"sample_id": pl.lit("one")}, "one sample twice"),
        ({"tar": pl.lit("000000.tar")}, "places outside|other tars"),
        ({"degraded_sha256": pl.lit("0" * 64)}, "other pixels than the summary"),
    ],
)
def test_an_index_of_other_shards_is_refused(copy, columns, says):
    _as_index(copy, **columns)
    with pytest.raises(DataError, match=rf"index\.parquet: .*({says})"):
        read_index(copy)


@pytest.mark.parametrize("number", [10**30, -1, True, 1.5])
@pytest.mark.parametrize("key", ["bytes", "samples"])
def test_a_summary_counts_with_numbers_that_a_file_may_have(copy, key, number):
    summary = json.loads((copy / "index.json").read_text())
    summary["tars"]["000000.tar"][key] = number
    (copy / "index.json").write_text(json.dumps(summary))
    with pytest.raises(DataError, match=r"index\.json: not a summary of shards"):
        read_summary(copy)


@pytest.mark.parametrize(
    "name", ["../other.tar", "/etc/passwd.tar", "a\\b.tar", "..tar", "x", "x" * 300 + ".tar", "\udc80.tar"]
)
def test_a_summary_names_files_beside_it_only(copy, name):
    summary = json.loads((copy / "index.json").read_text())
    summary["tars"][name] = summary["tars"].pop("000000.tar")
    (copy / "index.json").write_text(json.dumps(summary))
    with pytest.raises(DataError, match=r"index\.json: not a summary of shards"):
        read_index(copy)


def _patch(copy, row, part: str, data: bytes) -> None:
    assert len(data) <= row[f"{part}_size"]
    with (copy / row["tar"]).open("r+b") as file:
        file.seek(row[f"{part}_offset"])
        file.write(data + bytes(row[f"{part}_size"] - len(data)))


def test_other_pixels_in_a_sound_png_are_noticed(copy):
    """A picture whose checksums fit: only the digest in the index can tell."""
    row = read_index(copy).row(0, named=True)
    _patch(copy, row, "degraded", encode_png(np.zeros((row["height"], row["width"], 3), np.uint8)))
    with pytest.raises(DataError, match=r"the degraded of sample .* is damaged"):
        read_pair(copy, row)


def test_a_picture_of_another_size_is_refused_before_it_is_decoded(copy, monkeypatch):
    """221 bytes can ask a decoder for gigabytes."""
    row = read_index(copy).row(0, named=True)
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    _patch(copy, row, "clean", bomb)
    monkeypatch.setattr(shards, "decode_png", lambda data: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"the clean of sample .* is damaged"):
        read_pair(copy, row)


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        (tarfile.SYMTYPE, "link.clean.png", "a link"),
        (tarfile.LNKTYPE, "link.clean.png", "a link"),
        (tarfile.CHRTYPE, "device.clean.png", "no plain file"),
        (tarfile.FIFOTYPE, "pipe.clean.png", "no plain file"),
        (tarfile.DIRTYPE, "folder", "no plain file"),
        (tarfile.REGTYPE, "../up.clean.png", "leads out of the archive"),
        (tarfile.REGTYPE, "/etc/passwd", "leads out of the archive"),
        (tarfile.REGTYPE, "twice.png", "for the second time"),
    ],
)
def test_members_that_are_no_plain_files_are_refused(tmp_path, kind, name, says):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("twice.png"))
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "twice.png"
        tar.addfile(info)
    with pytest.raises(DataError, match=rf"member '.*' is .*{says}"):
        read_members(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", [1 << 33, 1 << 45, 1 << 70])
def test_a_header_that_asks_for_more_than_there_is_takes_no_memory(tmp_path, kind, size):
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, size
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match=rf"x\.tar: a header that asks for {size} bytes, of which 1024 are there"):
        read_members(tmp_path / "x.tar")


@pytest.mark.parametrize("size", [-512, -1])
def test_a_member_of_a_negative_size_is_refused(tmp_path, size):
    info = tarfile.TarInfo("one.clean.png")
    info.size = size
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match=r"x\.tar: member 'one\.clean\.png' is of a negative size"):
        read_members(tmp_path / "x.tar")


def test_a_member_that_no_index_knows_is_found(copy):
    with tarfile.open(copy / "000002.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("more.clean.png"))
    index = pl.read_parquet(copy / "index.parquet")
    write_index(copy, index)
    with pytest.raises(DataError, match=r"000002\.tar: other members"):
        verify(copy)
