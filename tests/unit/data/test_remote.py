"""Shards over http and S3: what the server does wrong is retried, named, and never taken for whole."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cea.config import parse
from cea.data import remote as module
from cea.data import tar_cache
from cea.data.clean import read_clean
from cea.data.dataset import check_split, list_split
from cea.data.loaders import PatchDataset, PatchSequence, PatchSpec, ShardPairs, StepSampler
from cea.data.packing import ShardConfig, select, write_shards
from cea.data.reading import read_sample
from cea.data.records import SynthesizeConfig, Variants, draw_table
from cea.data.remote import Remote, RemoteConfig, cache_folder, open_remote
from cea.data.shards import read_index
from cea.data.summary import DamagedError
from cea.data.tiling import write_tiles
from cea.degradations.engine.recipes import RecipeConfig
from cea.errors import ConfigError, DataError
from cea.training.config import TrainConfig
from tests import faulty_server, servers
from tests.faulty_server import FileServer, serving
from tests.toy_shards import write_toy_shards

SAMPLES, TARS, SIDE = 6, 3, 24
SPLITS = {"train": ("a", "b")}
WHOLE = (0.0, 0.0, (False, False, False))


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """Two recipes of three tars with two samples each."""
    root = tmp_path_factory.mktemp("here")
    for recipe in SPLITS["train"]:
        write_toy_shards(root / "train" / recipe, samples=SAMPLES, per_tar=2, size=SIDE)
    return root


@pytest.fixture
def server(here):
    with serving(here) as state:
        yield state


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(tar_cache, "_WAIT_S", 2.0)


def config_of(tmp_path: Path, **options: object) -> RemoteConfig:
    return RemoteConfig(cache=str(tmp_path / "cache"), **{"retries": 2, **options})


def opened(server: FileServer, tmp_path: Path, **options: object) -> Remote:
    return open_remote(server.address, config_of(tmp_path, **options), SPLITS)


def folders(place: Remote) -> list[Path]:
    return [place.root / "train" / recipe for recipe in SPLITS["train"]]


def everything(place: Remote, here: Path) -> None:
    """Every sample is the one that lies here."""
    for folder in folders(place):
        local = here / "train" / folder.name
        for row, own in zip(read_index(folder, place).to_dicts(), read_index(local).to_dicts(), strict=True):
            far, near = read_sample(folder, row, place), read_sample(local, own)
            assert np.array_equal(far.clean, near.clean)
            assert np.array_equal(far.degraded, near.degraded)
            assert far.record == near.record


def in_cache(place: Remote) -> list[str]:
    return sorted(str(path.relative_to(place.root)) for path in place.root.rglob("*.tar"))


def test_samples_are_those_that_were_uploaded_and_each_tar_is_fetched_once(server, here, tmp_path):
    place = opened(server, tmp_path)
    for _ in range(2):
        everything(place, here)
    assert {path: count for path, count in server.asked.items() if path.endswith(".tar")} == {
        f"train/{recipe}/{number:06d}.tar": 1 for recipe in SPLITS["train"] for number in range(TARS)
    }
    again = opened(server, tmp_path)  # another run, or another copy of the same data set
    assert again.root == place.root
    everything(again, here)
    assert server.asked["train/a/000000.tar"] == 1


def test_the_split_is_checked_against_its_list(server, here, tmp_path):
    listed = list_split(here / "train", dict.fromkeys(SPLITS["train"], True), labels=True)
    place = opened(server, tmp_path)
    check_split(place.root / "train", listed, place)
    other = write_toy_shards(tmp_path / "other/train/a", samples=2).parent
    shutil.copytree(here / "train/b", other / "b")
    with serving(other.parent) as wrong:
        place = open_remote(wrong.address, config_of(tmp_path), SPLITS)
        with pytest.raises(DataError, match=r"a: the samples and the pixels and .* are not those of the data set"):
            check_split(place.root / "train", listed, place)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_local_shards(server, here, tmp_path, workers):
    place = opened(server, tmp_path)
    sequence = PatchSequence((SAMPLES, SAMPLES), 4, seed=1)
    pairs = ShardPairs([here / "train" / recipe for recipe in SPLITS["train"]])
    local = PatchDataset(pairs, 8)
    far = PatchDataset(ShardPairs(folders(place), place=place), 8)
    loader = DataLoader(far, batch_sampler=StepSampler(sequence, range(6)), num_workers=workers)
    for step, batch in enumerate(loader):
        expected = [local[order] for order in sequence.orders(step)]
        for number, tensors in enumerate(batch):
            assert torch.equal(tensors, torch.stack([one[number] for one in expected]))


FAULTS = {
    "500": faulty_server.status(500),
    "503": faulty_server.status(503),
    "truncated": faulty_server.truncated,
    "broken off": faulty_server.broken_off,
    "wrong bytes": faulty_server.flipped(700),
    "endless": faulty_server.endless,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_tried_again(server, here, tmp_path, fault):
    for path in ("train/a/000001.tar", "train/b/index.parquet", "train/b/index.json"):
        if path.endswith(".tar") or fault in ("500", "503", "broken off"):
            server.fail(path, FAULTS[fault], times=2)
    everything(opened(server, tmp_path), here)
    assert server.asked["train/a/000001.tar"] == 3


def swapped(here: Path) -> faulty_server.Fault:
    return faulty_server.instead(here / "train/b/000001.tar")  # as long, and sound in itself


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("truncated", r"\d+ bytes; expected the shard that its index describes"),
        ("broken off", r"breaks off"),
        ("wrong bytes", r"is damaged|no.* tar|damaged|members"),
        ("endless", r"longer than \d+ bytes"),
        ("swapped", r"other members than its index describes"),
        ("404", r"no such file"),
    ],
)
def test_what_stays_wrong_is_named_and_never_kept(server, here, tmp_path, fault, says):
    server.fail("train/a/000001.tar", {"swapped": swapped(here), "404": faulty_server.status(404), **FAULTS}[fault])
    place = opened(server, tmp_path)
    rows = read_index(folders(place)[0], place).to_dicts()
    read_sample(folders(place)[0], rows[0], place)
    with pytest.raises(DamagedError, match=rf"127\.0\.0\.1:\d+/train/a/000001\.tar: .*({says})") as caught:
        read_sample(folders(place)[0], rows[2], place)
    assert "\n" not in str(caught.value)
    assert server.asked["train/a/000001.tar"] == (1 if fault == "404" else 3)
    assert in_cache(place) == ["train/a/000000.tar"]
    assert not list(place.cache.rglob("*.part"))
    server.faults.clear()  # it was uploaded again
    everything(place, here)


def test_every_byte_of_a_tar_is_checked_when_it_is_fetched(server, here, tmp_path):
    """Pictures by digest, maps by check sum; in records the names (a training on pixels reads no more of them)."""
    row = read_index(here / "train/a").row(2, named=True)
    for part in ("clean", "degraded", "severity"):
        for share in (0.1, 0.5, 0.9):
            at = row[f"{part}_offset"] + int(share * row[f"{part}_size"])
            server.fail("train/a/000001.tar", faulty_server.flipped(at))
            place = opened(server, tmp_path, retries=0)
            with pytest.raises(DamagedError, match=r"is damaged"):
                read_sample(folders(place)[0], read_index(folders(place)[0], place).row(2, named=True), place)


def test_a_server_that_is_gone_is_no_damaged_shard(server, here, tmp_path):
    """To pass over everything because of an outage would train on nothing."""
    place = opened(server, tmp_path, damaged="skip")
    server.fail("train/a/000000.tar", faulty_server.status(500))
    patches = PatchDataset(ShardPairs(folders(place), place=place, skip=True), 8)
    with pytest.raises(DataError, match=r"train/a/000000\.tar: .*500.*see whether it is up") as caught:
        patches[PatchSpec(0, 0, *WHOLE)]
    assert not isinstance(caught.value, DamagedError)
    with pytest.raises(DataError, match=r"train/a/index\.json: .*see whether it is up"):
        open_remote("http://127.0.0.1:9", config_of(tmp_path, retries=1), SPLITS)
    assert not list((tmp_path / "cache").glob(".partial-*"))


def test_indexes_that_are_missing_or_damaged_are_named(server, here, tmp_path):
    server.fail("train/b/index.json", faulty_server.status(404))
    with pytest.raises(DataError, match=r"train/b/index\.json: no such file; .*correct train\.shards"):
        opened(server, tmp_path)
    server.fail("train/b/index.json", faulty_server.instead(here / "train/a/index.json"))
    with pytest.raises(DataError, match=r"train/b/index\.parquet: other pixels than the summary"):
        opened(server, tmp_path)
    server.faults.clear()
    server.fail("train/b/index.parquet", faulty_server.truncated)
    with pytest.raises(DataError, match=r"train/b/index\.parquet"):
        opened(server, tmp_path)


def test_an_index_without_end_is_left_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LARGEST", {".json": 10, ".parquet": 1 << 32})
    with pytest.raises(DataError, match=r"index\.json: longer than 10 bytes"):
        opened(server, tmp_path)


def hostile(here: Path, tmp_path: Path) -> faulty_server.Fault:
    """A tar of the right length whose first header asks for more bytes than any machine has."""
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, 1 << 70
    size = (here / "train/a/000001.tar").stat().st_size
    (tmp_path / "hostile.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT).ljust(size, b"\0"))
    return faulty_server.instead(tmp_path / "hostile.tar")


def test_a_header_that_asks_for_too_much_is_a_damaged_shard(server, here, tmp_path):
    server.fail("train/a/000001.tar", hostile(here, tmp_path))
    place = opened(server, tmp_path, damaged="skip", retries=0)
    pairs = ShardPairs(folders(place), place=place, skip=True)
    PatchDataset(pairs, 8)[PatchSpec(0, 2, *WHOLE)]
    assert pairs.given_up() == {"train/a": 2}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard_is_passed_over_by_choice(server, here, tmp_path, workers, caplog):
    """Wherever one of its samples is due, the next whole one of the same recipe takes its place, with the same crop."""
    server.fail("train/a/000001.tar", faulty_server.truncated)
    place = opened(server, tmp_path, damaged="skip", retries=0)
    pairs = ShardPairs(folders(place), place=place, skip=True)
    local = PatchDataset(ShardPairs([here / "train" / recipe for recipe in SPLITS["train"]]), 8)
    batches = [[PatchSpec(0, row, 0.3, 0.7, (True, False, False)) for row in range(SAMPLES)]]
    loader = DataLoader(PatchDataset(pairs, 8), batch_sampler=batches, num_workers=workers)
    with caplog.at_level(logging.WARNING):
        ((degraded, _),) = loader
    for row, patch in enumerate(degraded):
        assert torch.equal(patch, local[PatchSpec(0, 4 if row in (2, 3) else row, 0.3, 0.7, (True, False, False))][0])
    assert pairs.given_up() == {"train/a": 2}
    assert workers or "train/a/000001.tar" in caplog.text
    with pytest.raises(DamagedError):
        PatchDataset(ShardPairs(folders(place), place=place), 8)[batches[0][2]]


def test_nothing_left_is_an_error(server, here, tmp_path):
    for number in range(TARS):
        server.fail(f"train/a/{number:06d}.tar", faulty_server.truncated)
    place = opened(server, tmp_path, damaged="skip", retries=0)
    patches = PatchDataset(ShardPairs(folders(place), place=place, skip=True), 8)
    with pytest.raises(DataError, match="all shards are missing or damaged"):
        patches[PatchSpec(0, 0, *WHOLE)]


def tar_bytes(here: Path) -> int:
    return max(path.stat().st_size for path in here.rglob("*.tar"))


def test_the_cache_keeps_to_its_bound_and_what_was_read_last(server, here, tmp_path):
    two = 2 * tar_bytes(here)
    place = opened(server, tmp_path, cache_gb=(two + 10) / 1e9)
    folder = folders(place)[0]
    rows = read_index(folder, place).to_dicts()
    for number in (0, 2, 0, 4):
        read_sample(folder, rows[number], place)
        assert sum(path.stat().st_size for path in place.cache.rglob("*.tar")) <= two
        time.sleep(0.02)  # times of files are as coarse as the kernel's clock
    assert in_cache(place) == ["train/a/000000.tar", "train/a/000002.tar"]
    everything(place, here)


def test_a_tar_in_use_is_not_removed(server, here, tmp_path):
    place = opened(server, tmp_path, cache_gb=(tar_bytes(here) + 10) / 1e9)
    folder = folders(place)[0]
    rows = read_index(folder, place).to_dicts()
    with place.opened(folder / "000000.tar") as handle:
        with pytest.raises(DataError, match=r"all shards in it are in use.*cache_gb"):
            read_sample(folder, rows[2], place)
        assert in_cache(place) == ["train/a/000000.tar"]
        assert os.pread(handle, 10, 0)
    read_sample(folder, rows[2], place)
    assert in_cache(place) == ["train/a/000001.tar"]


def test_a_cache_for_less_than_one_shard_is_refused(server, tmp_path):
    place = opened(server, tmp_path, cache_gb=1e-6)
    says = r"train\.remote\.cache_gb = 1e-06: 000000\.tar has \d+ bytes.*raise train\.remote\.cache_gb"
    with pytest.raises(ConfigError, match=says), place.opened(folders(place)[0] / "000000.tar"):
        pytest.fail("opened")


READ = """
import sys
import tarfile
from pathlib import Path
from cea.data.reading import read_sample
from cea.data.remote import RemoteConfig, open_remote
from cea.data.shards import read_index

address, cache, size, rounds = sys.argv[1:]
config = RemoteConfig(cache=cache, cache_gb=float(size), retries=2)
place = open_remote(address, config, {"train": ("a", "b")})
for turn in range(int(rounds)):
    for recipe in ("a", "b"):
        folder = place.root / "train" / recipe
        for row in read_index(folder, place).to_dicts():
            read_sample(folder, row, place)
        print("read", recipe, flush=True)
"""


def reader(server: FileServer, tmp_path: Path, size: float, rounds: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", READ, server.address, str(tmp_path / "cache"), str(size), str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def bytes_of_tars(folder: Path) -> int:
    """Whoever works there may take a file or a folder away meanwhile."""
    paths = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names if name.endswith(".tar")]
    total = 0
    for path in paths:
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


@pytest.mark.slow
def test_several_processes_share_a_cache(server, here, tmp_path):
    """With room for all, each tar is fetched once; with room for three, all go on reading and the bound holds."""
    readers = [reader(server, tmp_path, 1) for _ in range(3)]
    assert [process.communicate()[1] for process in readers] == [""] * 3
    assert max(count for path, count in server.asked.items() if path.endswith(".tar")) == 1
    shutil.rmtree(tmp_path / "cache")
    bound = 3 * tar_bytes(here) + 10
    readers = [reader(server, tmp_path, bound / 1e9, rounds=4) for _ in range(3)]
    while any(process.poll() is None for process in readers):
        assert bytes_of_tars(tmp_path / "cache") <= bound
        time.sleep(0.01)
    assert [(process.returncode, process.communicate()[1]) for process in readers] == [(0, "")] * 3


@pytest.mark.slow
def test_killed_while_fetching_leaves_nothing_that_is_taken_for_whole(server, here, tmp_path):
    server.fail("train/a/000001.tar", faulty_server.slow(30), times=1)
    process = reader(server, tmp_path, 1)
    deadline = time.monotonic() + 60
    while (
        not any(name.endswith(".part") for _, _, names in os.walk(tmp_path / "cache") for name in names)
        or server.asked["train/a/000001.tar"] < 1
    ):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.communicate()
    left = list((tmp_path / "cache").rglob("*.part"))
    assert len(left) == 1
    place = opened(server, tmp_path, cache_gb=1.0)
    assert "train/a/000001.tar" not in in_cache(place)
    with place.opened(folders(place)[1] / "000000.tar"):  # another one: what the dead left counts no more
        assert not left[0].exists()
    everything(place, here)
    everything(place, here)
    assert server.asked["train/a/000001.tar"] == 2


def test_records_are_read_with_their_tiles(clean_folder, tmp_path):
    clean = read_clean(clean_folder)
    config = SynthesizeConfig(train=Variants(photograph=3), tile=40)
    recipe = RecipeConfig(order="cdd11", nodes={"low": {}, "haze": {}})
    table = select(draw_table(clean, "low_haze", recipe, config, 3), clean, "train")
    write_shards(tmp_path / "up/train/low_haze", table, clean_folder, ShardConfig(samples_per_tar=2, store="records"))
    write_tiles(tmp_path / "up/tiles/train", [table], clean_folder, 2)
    with serving(tmp_path / "up") as server:
        place = open_remote(server.address, config_of(tmp_path, damaged="skip"), {"train": ("low_haze",)})
        folder, local = place.root / "train/low_haze", tmp_path / "up/train/low_haze"
        index = read_index(folder, place)
        for row, own in zip(index.to_dicts(), read_index(local).to_dicts(), strict=True):
            assert np.array_equal(read_sample(folder, row, place).degraded, read_sample(local, own).degraded)
        shutil.rmtree(tmp_path / "cache")
        lost = index["tile_tar"][0]
        server.fail(f"tiles/train/{lost}", faulty_server.flipped(600))
        place = open_remote(server.address, config_of(tmp_path, damaged="skip", retries=0), {"train": ("low_haze",)})
        pairs = ShardPairs([folder], place=place, skip=True)
        for row in range(len(index)):
            PatchDataset(pairs, 8)[PatchSpec(0, row, *WHOLE)]
        assert pairs.given_up() == {"train/low_haze": (index["tile_tar"] == lost).sum()}


@pytest.mark.slow
def test_s3(here, tmp_path, monkeypatch):
    import boto3

    for name, value in servers.S3_KEYS.items():
        monkeypatch.setenv(name, value)
    with servers.s3(tmp_path, "bucket") as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        client = boto3.client("s3", endpoint_url=address)
        for path in here.rglob("*.*"):
            client.upload_file(str(path), "bucket", f"cea/{path.relative_to(here)}")
        place = open_remote("s3://bucket/cea", config_of(tmp_path), SPLITS)
        everything(place, here)
        shutil.rmtree(tmp_path / "cache")
        client.put_object(Bucket="bucket", Key="cea/train/a/000001.tar", Body=b"cut short")
        client.delete_object(Bucket="bucket", Key="cea/train/a/000002.tar")
        place = open_remote("s3://bucket/cea", config_of(tmp_path, retries=1), SPLITS)
        folder = folders(place)[0]
        rows = read_index(folder, place).to_dicts()
        read_sample(folder, rows[0], place)
        with pytest.raises(DamagedError, match=r"s3://bucket/cea/train/a/000001\.tar: 9 bytes"):
            read_sample(folder, rows[2], place)
        with pytest.raises(DamagedError, match=r"000002\.tar: no such file"):
            read_sample(folder, rows[4], place)
        with pytest.raises(DataError, match=r"s3://bucket/elsewhere/train/a/index\.json: no such file"):
            open_remote("s3://bucket/elsewhere", config_of(tmp_path), SPLITS)


def test_plain_webdataset_reads_them_over_http(server, here):
    import webdataset

    urls = [f"{server.address}/train/a/{number:06d}.tar" for number in range(TARS)]
    keys = [sample["__key__"] for sample in webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8")]
    assert keys == read_index(here / "train/a")["sample_id"].to_list()


def test_the_cache_lies_where_caches_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(RemoteConfig()) == tmp_path / "cea/shards"
    assert cache_folder(RemoteConfig(cache="~/x")) == Path.home() / "x"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"shards": "data/elsewhere"}, r"train\.shards = 'data/elsewhere'"),
        ({"shards": "ftp://host/cea"}, r"train\.shards"),
        ({"shards": "https://key:secret@host/cea"}, r"train\.shards"),
        ({"shards": "https://host/cea?signature=1"}, r"train\.shards"),
        ({"remote": {"damaged": "ignore"}}, r"train\.remote\.damaged = 'ignore'; expected .*'stop' or 'skip'"),
        ({"remote": {"cache_gb": 0}}, r"train\.remote\.cache_gb = 0"),
        ({"remote": {"retries": -1}}, r"train\.remote\.retries = -1"),
        ({"remote": {"cach": "x"}}, r"train\.remote: unknown key 'cach'.*'cache'"),
    ],
)
def test_bad_parameters_are_refused(values, says):
    with pytest.raises(ConfigError, match=says):
        parse(TrainConfig, values, "train")


def test_addresses_that_are_taken():
    for url in ("https://host/cea", "http://127.0.0.1:8000", "s3://bucket/a/b"):
        assert parse(TrainConfig, {"shards": url}, "train").shards == url
