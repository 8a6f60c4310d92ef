"""Shards by tasks on a Ray cluster: the bytes of the local engine, what is kept, and what is refused in one line.

Kills, lost nodes and images that end their workers are in ``tests/faults/test_ray.py``.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cea.config import parse
from cea.data import cluster, on_ray, publishing
from cea.data.clean import read_clean
from cea.data.packing import ShardConfig, as_selection, select, write_shards
from cea.data.places import PARTS, Shared, Store, facts_name
from cea.data.records import COLUMNS, SynthesizeConfig, Variants, draw_table
from cea.data.shards import read_index
from cea.data.verification import verify
from cea.degradations.engine.recipes import RecipeConfig
from cea.errors import ConfigError, DataError
from cea.io.tables import write_table
from pipeline import shard

CONFIG = ShardConfig(samples_per_tar=3, engine="ray")


@pytest.fixture(scope="module")
def train(clean_folder: Path) -> pl.DataFrame:
    table = read_clean(clean_folder)
    config = SynthesizeConfig(train=Variants(photograph=3, leaves=2), tile=48)
    recipe = RecipeConfig(order="cdd11", nodes={"low": {}, "haze": {}})
    return select(draw_table(table, "low_haze", recipe, config, 5), table, "train")


@pytest.fixture(scope="module")
def made(train: pl.DataFrame, clean_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "train/low_haze"
    write_shards(folder, train, clean_folder, ShardConfig(samples_per_tar=3))
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.*"))
        if path.is_file()
    }


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks one after the other, without Ray: for what does not depend on it."""
    monkeypatch.setattr(on_ray, "tasks", lambda work, jobs, config, retried: ((job, work(job)) for job in jobs))
    monkeypatch.setattr(on_ray, "connected", lambda *_, **__: publishing.of_store())


@pytest.fixture
def own_cluster() -> Iterator[None]:
    """Ray gives a node 30 s to start; where a busy machine needs more, there is nothing to test."""
    with ExitStack() as stack:
        try:
            stack.enter_context(cluster.connected(CONFIG.ray, what="a test", workers=2))
        except ConfigError as error:
            if "timed out during startup" not in str(error):
                raise
            pytest.skip("this machine is too busy to start Ray within its 30 s")
        yield


@pytest.mark.slow
def test_a_cluster_of_this_machine_makes_the_same_bytes(
    made: Path,
    train: pl.DataFrame,
    clean_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    own_cluster: None,
) -> None:
    folder = tmp_path / "train/low_haze"
    with caplog.at_level("INFO"):
        assert on_ray.write_shards_on_ray(folder, train, clean_folder, CONFIG) == len(train)
    handed, waiting = [], []
    jobs = (handed.append(number) or f"{number}.tar" for number in range(12))
    narrow = CONFIG.ray.model_copy(update={"in_flight": 2})
    for name, told in cluster.tasks(facts_name, jobs, narrow):
        assert told == facts_name(name)
        waiting.append(len(handed) - len(waiting))
        time.sleep(0.05)  # whoever takes results is slow
    assert len(waiting) == 12
    assert max(waiting) <= 2
    lost = train.with_columns(file=pl.lit("images/none.png"))
    with pytest.raises(DataError, match=r"none\.png: no such file; expected every file the table names"):
        on_ray.write_shards_on_ray(folder, lost, clean_folder, CONFIG)
    assert f"{folder} on ray: 3 tars, 0 kept from before, 0 tries again" in caplog.text
    assert digests(folder) == digests(made)


def test_what_an_earlier_run_finished_is_not_rendered_again(
    made: Path,
    train: pl.DataFrame,
    clean_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_this_process: None,
) -> None:
    """A run that dies in its third tar; then one whose second tar was damaged meanwhile."""
    rendered, render, folder = [], on_ray.render_sample, tmp_path / "train/low_haze"

    def rendering(clean: Path, row: dict[str, object], parts: tuple[str, ...]) -> object:
        rendered.append(row["sample_id"])
        if len(rendered) == 7:
            raise KeyboardInterrupt
        return render(clean, row, parts)

    monkeypatch.setattr(on_ray, "render_sample", rendering)
    with pytest.raises(KeyboardInterrupt):
        on_ray.write_shards_on_ray(folder, train, clean_folder, CONFIG)
    assert not folder.exists()
    partial = folder.with_name(".low_haze.partial")
    assert sorted(path.name for path in partial.glob("*.tar")) == ["000000.tar", "000001.tar"]
    with (partial / "000001.tar").open("r+b") as tar:
        tar.seek(2000)
        tar.write(b"x")
    (partial / PARTS / "left").write_bytes(b"by a killed worker")
    rendered.extend(["-"] * 10)
    on_ray.write_shards_on_ray(folder, train, clean_folder, CONFIG)
    assert rendered[17:] == train["sample_id"].to_list()[3:]
    assert digests(folder) == digests(made)
    assert [path.name for path in folder.parent.iterdir()] == ["low_haze"]


def test_other_code_or_other_rows_are_rendered_again(
    train: pl.DataFrame, clean_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / PARTS).mkdir()
    code = on_ray.code_digest(Path.cwd())
    (job,) = on_ray._jobs(
        as_selection(train.head(2), tmp_path), clean_folder, Shared(tmp_path), ShardConfig(samples_per_tar=2)
    )
    assert [on_ray.make_tar(job)[1] for _ in range(2)] == [False, True]
    (other,) = on_ray._jobs(
        as_selection(train.tail(2), tmp_path), clean_folder, Shared(tmp_path), ShardConfig(samples_per_tar=2)
    )
    assert not on_ray.make_tar(other)[1]
    monkeypatch.setattr(cluster, "code_digest", lambda home: "other")
    with pytest.raises(DataError, match="runs other code of cea"):
        on_ray.make_tar(other)
    assert not on_ray.make_tar(on_ray.replace(other, code="other"))[1]
    assert code != "other"


def test_a_store_gets_tars_first_and_the_summary_last(
    made: Path,
    train: pl.DataFrame,
    clean_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_this_process: None,
) -> None:
    """Here a folder by address; S3 is among the faults."""
    config = CONFIG.model_copy(update={"upload": f"file://{tmp_path}/store"})
    folder = tmp_path / "train/low_haze"
    store = publishing.store_of(config.upload, folder)
    assert store == Store(f"file://{tmp_path}/store/train/low_haze")
    put, order = Store.write, []
    monkeypatch.setattr(Store, "write", lambda self, name, data: order.append(name) or put(self, name, data))
    on_ray.write_shards_on_ray(folder, train, clean_folder, config)
    assert digests(folder) == digests(made)
    assert order == [facts_name(f"00000{number}.tar") for number in range(3)]
    publishing.publish(folder, store)
    assert order[3:] == ["index.parquet", "index.json"]
    there = tmp_path / "store/train/low_haze"
    assert digests(there) == digests(made)
    verify(there)
    publishing.publish(folder, store)
    assert len(order) == 5  # all is there


def test_an_upload_goes_on_where_it_was_cut(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"file://{tmp_path}/store")
    upload, sent = Store.upload, []

    def failing(self: Store, path: Path, name: str) -> None:
        sent.append(name)
        if len(sent) == 3:
            raise OSError("file://: away")
        upload(self, path, name)

    monkeypatch.setattr(Store, "upload", failing)
    with pytest.raises(DataError, match="file://: away; expected a store that answers"):
        publishing.publish(made, store)
    assert not (tmp_path / "store/index.json").exists()
    publishing.publish(made, store)
    assert sent == ["000000.tar", "000001.tar", "000002.tar", "000002.tar"]
    verify(tmp_path / "store")
    assert not list((tmp_path / "store" / PARTS).glob("*"))


def dying(*poison: str, together: bool = False) -> Callable[..., Iterator[tuple[Any, Any]]]:
    """`cluster.tasks` in this process, where workers die of the samples called ``poison``, or of several at once."""

    def run(work: Any, jobs: Iterable[Any], config: cluster.RayConfig, *, retried: Any) -> Iterator[tuple[Any, Any]]:
        for job in jobs:
            dies = {row["sample_id"] for row in job.rows} & set(poison) or (together and len(job.rows) > 1)
            yield job, cluster.Died(config.retries + 1, "killed") if dies else work(job)

    return run


@pytest.mark.parametrize("unrenderable", ["refuse", "skip"])
def test_a_sample_that_ends_its_worker_is_named_or_left_out(
    made: Path,
    train: pl.DataFrame,
    clean_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_this_process: None,
    unrenderable: str,
) -> None:
    poison, folder = train["sample_id"].to_list()[3:6], tmp_path / "train/low_haze"
    monkeypatch.setattr(on_ray, "tasks", dying(*poison))
    config = CONFIG.model_copy(update={"unrenderable": unrenderable})
    if unrenderable == "refuse":
        with pytest.raises(
            DataError, match=rf"3 samples end their worker in each of 4 tries: {poison[0]} of clean image"
        ):
            on_ray.write_shards_on_ray(folder, train, clean_folder, config)
        assert not folder.exists()
        assert len(list(folder.with_name(".low_haze.partial").glob("*.tar"))) == 2
        return
    on_ray.write_shards_on_ray(folder, train, clean_folder, config)
    left = json.loads((folder / "left_out.json").read_text())
    assert [each["sample_id"] for each in left] == poison
    assert left[0]["reason"] == "killed"
    assert not (folder / "000001.tar").exists()  # nothing is left of it
    assert read_index(folder)["sample_id"].to_list() == [each for each in train["sample_id"] if each not in poison]
    assert digests(folder)["000002.tar"] == digests(made)["000002.tar"]
    verify(folder)


def test_workers_that_die_of_no_single_sample_are_not_blamed_on_one(
    train: pl.DataFrame, clean_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None
) -> None:
    monkeypatch.setattr(on_ray, "tasks", dying(together=True))
    skip = CONFIG.model_copy(update={"unrenderable": "skip"})
    with pytest.raises(DataError, match=r"000000\.tar: its worker dies \(killed\), and with no single sample of it"):
        on_ray.write_shards_on_ray(tmp_path / "x/y", train, clean_folder, skip)


def test_a_cluster_on_which_nothing_lives_is_given_up_early(
    train: pl.DataFrame, clean_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None
) -> None:
    many = pl.concat([train.with_columns(sample_id=pl.col("sample_id") + f"x{copy}") for copy in range(20)])
    monkeypatch.setattr(on_ray, "tasks", dying(*many["sample_id"]))
    with pytest.raises(DataError, match=r"no task of 8 came back in 4 tries each \(killed\)"):
        on_ray.write_shards_on_ray(tmp_path / "x/y", many, clean_folder, CONFIG)


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_the_stage_uploads_what_either_engine_makes(
    engine: str,
    made: Path,
    train: pl.DataFrame,
    clean_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_this_process: None,
) -> None:
    """With the split of a recipe that is only tested on, whose training shards are empty."""
    home = Path.cwd()
    monkeypatch.setattr(on_ray.Path, "cwd", lambda: home)
    monkeypatch.setattr(shard, "connected", lambda *_, **__: publishing.of_store())
    monkeypatch.setenv("CEA_WORKERS", "1")
    monkeypatch.chdir(tmp_path)
    upload = f"file://{tmp_path}/store"
    section = {"samples_per_tar": 3, "engine": engine, "upload": upload}
    Path("params.yaml").write_text(json.dumps({"shard": section}))
    write_table(tmp_path / "records.parquet", train.select(list(COLUMNS)).with_columns(split=pl.lit("test")))
    folders = {split: tmp_path / f"shards/{split}/low_haze" for split in ("train", "val", "test")}
    shard.main(Namespace(clean=clean_folder, records=tmp_path / "records.parquet", **folders))
    assert digests(folders["test"]).keys() == digests(made).keys()
    for split, folder in folders.items():
        assert digests(tmp_path / f"store/{split}/low_haze") == digests(folder)
        assert len(read_index(tmp_path / f"store/{split}/low_haze")) == (8 if split == "test" else 0)


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cea.extras.find_spec", lambda name: None)
    with (
        pytest.raises(ConfigError, match=r"shard\.engine: ray needs ray, .* in cea's clone: pip install '.\[ray\]'"),
        cluster.connected(cluster.RayConfig(), what="shard.engine: ray", workers=1),
    ):
        pass


@pytest.mark.slow
def test_ray_is_imported_by_nobody_who_does_not_use_it() -> None:
    code = "import sys, pipeline.shard, cea.data.on_ray; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"engine": "rey"}, "shard.engine = 'rey'"),
        ({"upload": "bucket/prefix"}, "shard.upload = 'bucket/prefix'"),
        ({"unrenderable": "ignore"}, "shard.unrenderable = 'ignore'"),
        ({"ray": {"num_cpus": 0}}, "shard.ray.num_cpus = 0"),
        ({"ray": {"retry": 1}}, "did you mean 'retries'"),
    ],
)
def test_wrong_values_are_named(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse(ShardConfig, values, "shard")
