"""Shards made on a cluster of two nodes (two raylets on this machine) that loses workers, a node, and its driver,
and on one that grows and shrinks.

Whatever happens, the bytes are those of one local process, or a sample is named. Rendering goes through a plug-in that
writes down what it renders, and obeys orders to be slow or to die.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from benchmarks import shards_on_ray
from cea.data.clean import read_clean
from cea.data.dead_leaves.images import LeavesConfig
from cea.data.ingest import IngestConfig, ingest
from cea.data.on_ray import write_shards_on_ray
from cea.data.packing import ShardConfig, select, write_shards
from cea.data.publishing import publish, store_of
from cea.data.records import SynthesizeConfig, Variants, draw_table
from cea.data.shards import read_index
from cea.data.verification import verify
from cea.degradations.engine.recipes import RecipeConfig
from cea.errors import DataError
from tests.servers import S3_KEYS, free_port, running, s3
from tests.toy_clean import write_clean

pytestmark = [pytest.mark.faults, pytest.mark.slow]
SAMPLES, PER_TAR = 40, 4
CONFIG = ShardConfig(samples_per_tar=PER_TAR, engine="ray", ray={"retries": 2})

PLUGIN = """
import json, os, signal, time
from pathlib import Path

from cea.degradations.contract.functions import family

HERE = Path(__file__).resolve().parent.parent


def sample(rng):
    return {"token": int(rng.integers(1 << 30))}


def apply(image, values, rng):
    orders = json.loads((HERE / "orders.json").read_text())
    with (HERE / "rendered.log").open("a") as log:
        log.write(f"{os.getpid()} {values['token']}\\n")
    if values["token"] in orders.get("poison", []):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(orders.get("seconds", 0))
    return image * (0.5 + values["token"] / 2**31)


Obedient = family("Obedient", sample, apply, stage="sensor")
"""


SOURCE = """
import os, signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cea.config import Config
from cea.data.sources.base import Item, Loaded, Source
from cea.errors import ImageError


@dataclass(frozen=True)
class Picture(Item):
    number: int

    def load(self):
        if self.number == 17 and Path("poisonous").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if self.number in (3, 17):
            raise ImageError(f"{self.name}: broken", expected="pixels", remedy="remove it")
        return Loaded(np.random.default_rng(self.number).integers(0, 256, (64, 70, 3), dtype=np.uint8))


class Pictures(Source):
    Config = Config

    def items(self):
        return [Picture(f"picture {number}", "test", "CC0", number) for number in range(40)]
"""


class Project:
    """A folder with clean images, a plug-in and records; the current folder while tests run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clean = folder, folder / "clean"
        (folder / "plugins").mkdir(parents=True)
        (folder / "plugins/obedient.py").write_text(PLUGIN)
        (folder / "plugins/pictures.py").write_text(SOURCE)
        write_clean(self.clean)
        self.order()

    def draw(self) -> None:
        """Records of the training split."""
        clean = read_clean(self.clean)
        recipe = RecipeConfig(order="listed", nodes={"haze": {}, "Obedient": {}})
        config = SynthesizeConfig(train=Variants(photograph=SAMPLES // 2, leaves=0), tile=48)
        self.records = select(draw_table(clean, "obeyed", recipe, config, 5), clean, "train")
        assert len(self.records) == SAMPLES

    def order(self, **orders: Any) -> None:
        """What the plug-in has to do from now on."""
        (self.folder / "rendered.log").write_text("")
        (self.folder / "orders.json").write_text(json.dumps(orders))

    def rendered(self) -> list[tuple[int, int]]:
        """(process, token) of each rendering since the last order."""
        lines = (self.folder / "rendered.log").read_text().splitlines()
        return [(int(process), int(token)) for process, token in (line.split() for line in lines)]

    def tokens(self, rows: range) -> list[int]:
        """What the plug-in calls these rows of the records."""
        nodes = [json.loads(self.records["nodes"][row]) for row in rows]
        return [node["params"]["values"]["token"] for each in nodes for node in each if node["family"] == "Obedient"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("project"))
    before = Path.cwd()
    os.chdir(made.folder)
    sys.path.insert(0, str(made.folder))
    try:
        made.draw()
        yield made
    finally:
        sys.path.remove(str(made.folder))
        os.chdir(before)


@pytest.fixture(scope="module")
def reference(project: Project) -> dict[str, str]:
    """What one local process makes, and two of them."""
    for workers in (1, 2):
        write_shards(project.folder / f"local{workers}", project.records, project.clean, CONFIG, workers=workers)
    assert digests(project.folder / "local1") == digests(project.folder / "local2")
    return digests(project.folder / "local1")


@pytest.fixture(scope="module")
def nodes(project: Project) -> Iterator[Any]:
    """Two raylets with a processor each, and an S3 server that their workers know."""
    with pytest.MonkeyPatch.context() as patch, s3(project.folder, "bucket") as address:
        for name, value in {**S3_KEYS, "AWS_ENDPOINT_URL": address, "RAY_USAGE_STATS_ENABLED": "0"}.items():
            patch.setenv(name, value)
        cluster = two_nodes()
        try:
            yield cluster
        finally:
            cluster.shutdown()


def two_nodes() -> Any:
    """A node has 30 s to start, by Ray's own clock: on a busy machine it may need a second chance."""
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    for chance in range(4):
        cluster = Cluster()
        try:
            cluster.add_node(**small)
            cluster.add_node(**small)
            return cluster
        except Exception as error:
            cluster.shutdown()
            if "timed out during startup" not in str(error) or chance == 3:
                raise
    raise AssertionError


@contextmanager
def growing(processors: int) -> Iterator[str]:
    """A head without processors, whose autoscaler adds up to two nodes of so many and ends idle ones; its address.

    `ray.cluster_utils.AutoscalingCluster` would end every other cluster of this machine, and lacks a file in 2.60.
    """
    import ray

    folder, head, port = Path(mkdtemp(prefix="cea-ray-")), "f" * 51 + "00000", free_port()
    address = f"{ray.util.get_node_ip_address()}:{port}"
    worker = {"CPU": processors, "object_store_memory": 100 << 20}
    scaling: dict[str, Any] = {
        "cluster_name": "toy",
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "max_workers": 2,
        "idle_timeout_minutes": 0.05,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": head,
            "launch_multiple": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": worker, "node_config": {}, "min_workers": 0, "max_workers": 2},
        },
    }
    commands = ("setup", "head_setup", "worker_setup", "initialization", "head_start_ray", "worker_start_ray")
    scaling |= {f"{name}_commands": [] for name in commands}
    (folder / "scaling.json").write_text(json.dumps(scaling))
    ports = {"port": port, "min-worker-port": 0, "max-worker-port": 0} | {
        f"{name}-port": free_port() for name in ("dashboard", "dashboard-agent-listen")
    }
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=0"]
    command += [*(f"--{name}={number}" for name, number in ports.items()), f"--object-store-memory={100 << 20}"]
    command += ["--include-dashboard=false", f"--temp-dir={folder}/ray", f"--autoscaling-config={folder}/scaling.json"]
    fake = {"RAY_FAKE_CLUSTER": "1", "RAY_CLOUD_INSTANCE_ID": head, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": head}
    more = {"RAY_enable_autoscaler_v2": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    environment = {**os.environ, **fake, **more, "RAY_AUTH_MODE": "disabled"}

    def started() -> None:
        assert "Ray runtime started" in (folder / "out").read_text()

    try:
        with running(command, folder / "out", started, env=environment):
            yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def config(nodes: Any) -> ShardConfig:
    return CONFIG.model_copy(update={"ray": CONFIG.ray.model_copy(update={"address": nodes.address})})


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_benchmark_makes_the_same_bytes_with_both(capsys: pytest.CaptureFixture[str]) -> None:
    """On a cluster of its own, which it starts and ends; its figures belong to no test."""
    shards_on_ray.main(["--samples", "4", "--rounds", "1"])
    said = capsys.readouterr().out
    assert "tiles per second and worker: local " in said
    assert "the same bytes in each round" in said


def test_an_image_that_ends_its_worker_is_named_and_the_rest_is_kept(
    project: Project, reference: dict[str, str], config: ShardConfig, tmp_path: Path
) -> None:
    (poison,), folder = project.tokens(range(5, 6)), tmp_path / "train/obeyed"
    project.order(poison=[poison])
    row = project.records.row(5, named=True)
    says = rf"1 samples end their worker in each of 3 tries: {row['sample_id']} of clean image {row['clean_id']};"
    with pytest.raises(DataError, match=says):
        write_shards_on_ray(folder, project.records, project.clean, config)
    assert Counter(token for _, token in project.rendered())[poison] == 6  # three in its tar, three alone
    assert not folder.exists()
    assert len(list(folder.with_name(".obeyed.partial").glob("*.tar"))) == SAMPLES // PER_TAR - 1
    project.order()
    write_shards_on_ray(folder, project.records, project.clean, config)
    assert sorted(token for _, token in project.rendered()) == sorted(project.tokens(range(4, 8)))
    assert digests(folder) == reference


def test_an_image_that_ends_its_worker_is_left_out_by_choice(
    project: Project, reference: dict[str, str], config: ShardConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = project.records.row(5, named=True)
    project.order(poison=project.tokens(range(5, 6)))
    skip = config.model_copy(update={"unrenderable": "skip"})
    with caplog.at_level("INFO"):
        write_shards_on_ray(tmp_path / "train/obeyed", project.records, project.clean, skip)
    assert f"left out: sample {row['sample_id']} of clean image {row['clean_id']}" in caplog.text
    expected = project.records["sample_id"].to_list()
    assert read_index(tmp_path / "train/obeyed")["sample_id"].to_list() == expected[:5] + expected[6:]
    made = digests(tmp_path / "train/obeyed")
    differs = {"000001.tar", "index.json", "index.parquet", "left_out.json"}
    assert {name for name in made if made[name] != reference.get(name)} == differs
    assert json.loads((tmp_path / "train/obeyed/left_out.json").read_text())[0]["sample_id"] == row["sample_id"]
    verify(tmp_path / "train/obeyed")


def test_a_killed_driver_goes_on_where_it_was(
    project: Project, reference: dict[str, str], config: ShardConfig, tmp_path: Path
) -> None:
    code = """
import sys
from pathlib import Path
import polars
from cea.data.dead_leaves.images import LeavesConfig
from cea.data.ingest import IngestConfig, ingest
from cea.data.on_ray import write_shards_on_ray
from cea.data.packing import ShardConfig
config = ShardConfig.model_validate_json(sys.argv[4])
write_shards_on_ray(Path(sys.argv[1]), polars.read_parquet(sys.argv[2]), Path(sys.argv[3]), config)
"""
    project.records.write_parquet(tmp_path / "records.parquet")
    project.order(seconds=0.2)
    folder = tmp_path / "train/obeyed"
    facts = folder.with_name(".obeyed.partial") / ".parts"
    arguments = [str(folder), str(tmp_path / "records.parquet"), str(project.clean), config.model_dump_json()]
    driver = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(facts.glob("*.json"))) >= 3)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    kept = [int(path.name[:6]) for path in facts.glob("*.json")]
    assert len(kept) < SAMPLES // PER_TAR
    assert not folder.exists()
    time.sleep(2)  # its workers end with it
    project.order()
    write_shards_on_ray(folder, project.records, project.clean, config)
    again = {token for _, token in project.rendered()}
    assert not again & {token for tar in kept for token in project.tokens(range(PER_TAR * tar, PER_TAR * (tar + 1)))}
    assert digests(folder) == reference


def test_tars_go_to_s3_and_the_index_last(
    project: Project, reference: dict[str, str], config: ShardConfig, tmp_path: Path
) -> None:
    """Refused halfway, then whole: what was sent is not made again, and there is no index before."""
    import boto3

    folder = tmp_path / "train/obeyed"
    config = config.model_copy(update={"upload": "s3://bucket/shards"})
    store = store_of(config.upload, folder)
    assert store is not None
    project.order(poison=project.tokens(range(5, 6)))
    with pytest.raises(DataError, match="samples end their worker"):
        write_shards_on_ray(folder, project.records, project.clean, config)
    assert len([name for name in store.names() if name.endswith(".tar")]) == SAMPLES // PER_TAR - 1
    assert not [name for name in store.names() if name.startswith("index")]
    project.order()
    write_shards_on_ray(folder, project.records, project.clean, config)
    assert sorted(token for _, token in project.rendered()) == sorted(project.tokens(range(4, 8)))
    assert digests(folder) == reference
    assert not [name for name in store.names() if name.startswith("index")]
    publish(folder, store)
    client = boto3.client("s3")
    objects = {each["Key"] for each in client.list_objects_v2(Bucket="bucket")["Contents"]}
    assert objects == {f"shards/train/obeyed/{name}" for name in reference}
    for name, digest in reference.items():
        body = client.get_object(Bucket="bucket", Key=f"shards/train/obeyed/{name}")["Body"].read()
        assert hashlib.sha256(body).hexdigest() == digest, name


def test_records_are_those_of_one_local_process(project: Project, config: ShardConfig, tmp_path: Path) -> None:
    """Digests of all pixels are in the index, so workers render these, too."""
    project.order()
    records = config.model_copy(update={"store": "records"})
    write_shards(tmp_path / "local/obeyed", project.records, project.clean, records)
    write_shards_on_ray(tmp_path / "ray/obeyed", project.records, project.clean, records)
    assert digests(tmp_path / "ray/obeyed") == digests(tmp_path / "local/obeyed")
    assert Counter(token for _, token in project.rendered()).most_common(1)[0][1] == 2  # once by each


def test_nodes_come_for_tasks_that_wait_and_go_when_there_are_none(
    project: Project, reference: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Twice from a cluster that has no processor; tasks of the second time wait for nodes as those of the first."""
    import ray

    def processors() -> list[float]:
        return sorted(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])

    with growing(2) as address, ray.init(address=address, log_to_driver=False, logging_level="ERROR"):
        for turn in ("first", "second"):
            assert processors() == [0]
            caplog.clear()
            project.order(seconds=10)  # a tar takes 40, until both nodes are there
            facts, grown, done = tmp_path / turn / ".obeyed.partial/.parts", [], threading.Event()

            def watch(facts: Path = facts, grown: list[int] = grown, done: threading.Event = done) -> None:
                while not done.wait(0.2):
                    if not grown and processors() == [0, 2, 2]:
                        grown.append(len(list(facts.glob("*.json"))))
                        project.order()

            watcher = threading.Thread(target=watch)
            watcher.start()
            try:
                write_shards_on_ray(tmp_path / turn / "obeyed", project.records, project.clean, CONFIG)
            finally:
                done.set()
                watcher.join()
            assert "no node has the 1 processors that a task takes (shard.ray.num_cpus); waiting for one" in caplog.text
            assert grown == [0]  # the second node, too, came before the first tar was finished
            assert digests(tmp_path / turn / "obeyed") == reference
            wait_for(lambda: processors() == [0])


def test_ingest_names_an_image_that_ends_its_worker(project: Project, config: ShardConfig, tmp_path: Path) -> None:
    """Everything else is what this machine's processes make of it."""
    ingesting = IngestConfig(source="plugins.pictures:Pictures", leaves=LeavesConfig(count=2, val_count=1, size=64))
    here = ingest(tmp_path / "here", ingesting, workers=2)
    broken = "broken; expected pixels; remove it"
    assert here.refused == [("picture 3", broken), ("picture 17", broken)]
    (project.folder / "poisonous").touch()
    there = ingest(tmp_path / "there", ingesting, cluster=config.ray)
    assert there.refused[0] == here.refused[0]
    assert there.refused[1][0] == "picture 17"
    assert there.refused[1][1].startswith("it ended its worker in each of 3 tries: The worker died unexpectedly")
    for name in ("clean.parquet", *read_clean(tmp_path / "here")["file"]):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name


def test_killed_workers_and_a_lost_node_change_no_byte(
    project: Project, reference: dict[str, str], config: ShardConfig, nodes: Any, tmp_path: Path
) -> None:
    """The last one here: it leaves a cluster of one node."""
    lost, killed, folder = nodes.worker_nodes.copy().pop(), [], tmp_path / "train/obeyed"
    project.order(seconds=0.5)

    def kill() -> None:
        for so_far, victim in (
            (5, lambda: project.rendered()[-1][0]),
            (9, lambda: project.rendered()[-1][0]),
            (14, lambda: lost.all_processes["raylet"][0].process.pid),
        ):
            wait_for(lambda number=so_far: len(project.rendered()) >= number)
            killed.append(victim())
            os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert write_shards_on_ray(folder, project.records, project.clean, config) == SAMPLES
    killer.join()
    assert len(killed) == 3
    rendered = project.rendered()
    assert len(rendered) > SAMPLES  # some were rendered again
    assert {token for _, token in rendered} == set(project.tokens(range(SAMPLES)))
    assert len({process for process, _ in rendered}) > 3
    assert digests(folder) == reference
    assert [path.name for path in folder.parent.iterdir()] == ["obeyed"]
