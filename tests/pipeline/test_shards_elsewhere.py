"""A project with pixels or records, here, on a web server or in S3: ``dvc repro`` makes the same weights of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from cea.io.images import file_sha256
from tests.faulty_server import serving
from tests.pipeline.test_full_run import Project, copied
from tests.pipeline.test_reproduce import tiny
from tests.servers import S3_KEYS, s3

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

RESULTS = ("data/model/best.safetensors", "data/model/last.safetensors", "metrics/train_loss.csv")


def smaller(params: dict[str, Any]) -> None:
    tiny(params)
    params["train"] |= {"threads": 1, "batch": 2, "patch": 24, "val_crop": 32, "cache_mb": 0}
    params["model"] |= {"width": 8, "rank": 2}
    params["shard"] |= {"samples_per_tar": 2}


def results(project: Project) -> dict[str, bytes]:
    """Weights and the curve of the loss, every bit."""
    return {name: (project.folder / name).read_bytes() for name in RESULTS}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """After a training on pixels that lie here."""
    project = copied(tmp_path_factory.mktemp("elsewhere") / "project", smaller, photograph=False)
    project.run("dvc", "repro", "train")
    project.first = results(project)
    return project


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore")


def train(project: Project, shards: str | None, cache: Path, **environment: str) -> dict[str, bytes]:
    """Train again, on what lies at that address; the results, which were removed before."""
    for name in RESULTS:
        (project.folder / name).unlink(missing_ok=True)
    remote = {"cache": str(cache), "cache_gb": 1.0, "retries": 1, "damaged": "stop"}
    project.params(lambda params: params["train"].update(shards=shards, remote=remote))
    said = project.run("dvc", "repro", "--force", "--single-item", "train", **environment).stdout
    assert "Running stage 'train'" in said
    return results(project)


def test_pixels_from_a_web_server(project: Project, tmp_path: Path):
    shards = project.folder / "data/shards"
    shards.rename(tmp_path / "web")
    with serving(tmp_path / "web") as server:
        assert train(project, server.address, tmp_path / "cache") == project.first
    assert any(path.endswith(".tar") for path in server.asked)
    assert not shards.exists()
    (tmp_path / "web").rename(shards)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with s3(tmp_path_factory.mktemp("s3"), "bucket") as address:
        yield S3_KEYS | {"AWS_ENDPOINT_URL": address}


@pytest.fixture(scope="module")
def client(storage: dict[str, str]) -> Any:
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=storage["AWS_ENDPOINT_URL"], **keys)


def stored(client: Any) -> dict[str, Any]:
    """What the store holds: name -> when it was put there."""
    objects = client.list_objects_v2(Bucket="bucket").get("Contents", [])
    return {each["Key"].removeprefix("shards/"): each["LastModified"] for each in objects}


@pytest.fixture(scope="module")
def records(project: Project, storage: dict[str, str]) -> Project:
    """The same project after its shards were made again, as records, and sent to S3."""
    project.params(lambda params: params["shard"].update(store="records", upload="s3://bucket/shards"))
    project.params(lambda params: params["train"].update(shards=None))
    listed = (project.folder / "data/dataset/train.json").read_bytes()
    said = project.run("dvc", "repro", "dataset", **storage).stdout
    for stage in ("shard@noise", "shard@haze", "tiles"):
        assert f"Running stage '{stage}'" in said
    assert (project.folder / "data/dataset/train.json").read_bytes() == listed
    return project


def test_records_that_lie_here(records: Project, tmp_path: Path):
    names = {path.name for path in files(records.folder / "data/shards/train/noise")}
    assert {"index.json", "index.parquet", "000000.tar"} <= names
    assert train(records, None, tmp_path / "cache") == records.first


def test_all_of_them_were_sent_tiles_as_well(records: Project, client: Any):
    shards = records.folder / "data/shards"
    there = set(stored(client))
    assert "tiles/train/000001.tar" in there
    assert there == {path.relative_to(shards).as_posix() for path in files(shards)}


def test_an_upload_that_was_interrupted_goes_on(records: Project, storage: dict[str, str], client: Any):
    """The state in which sending the tiles ends early: tars with a file of facts about each, and no index yet."""
    before, folder = stored(client), "tiles/train"
    sent = {name for name in before if name.startswith(folder) and name.endswith(".tar")} - {f"{folder}/000001.tar"}
    assert sent
    for name in sent:
        tar = records.folder / "data/shards" / name
        facts = {"size": tar.stat().st_size, "sha256": file_sha256(tar)}
        client.put_object(Bucket="bucket", Key=f"shards/{folder}/.parts/{tar.name}.json", Body=json.dumps(facts))
    for name in ("000001.tar", "index.json", "index.parquet"):
        client.delete_object(Bucket="bucket", Key=f"shards/{folder}/{name}")
    records.run("dvc", "repro", "--force", "--single-item", "tiles", **storage)
    after = stored(client)
    assert after.keys() == before.keys()
    assert {name: after[name] for name in sent} == {name: before[name] for name in sent}


def test_records_from_s3(records: Project, storage: dict[str, str], tmp_path: Path):
    shutil.rmtree(records.folder / "data/shards")
    assert train(records, "s3://bucket/shards", tmp_path / "cache", **storage) == records.first
    assert not (records.folder / "data/shards").exists()
