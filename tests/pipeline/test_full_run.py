"""The whole road in a temporary copy of the project, small: it runs, it is traced, it comes out the same again."""

from __future__ import annotations

import fcntl
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML

from cea.lineage.code import closure

ROOT = Path(__file__).resolve().parents[2]
TRAINED = ("noise", "haze", "low_haze")
UNSEEN = ("haze_noise",)
RECIPES = (*TRAINED, *UNSEEN)
SPLITS = ("train", "val", "test")
PICTURES = "metrics/pictures/pictures.json"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


TRACE = """
import atexit, json, os, sys

def dump():
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec and spec.name.startswith("pipeline."):
        files = [getattr(m, "__file__", None) or "" for m in list(sys.modules.values())]
        with open(os.path.join(os.environ["TRACE_FOLDER"], f"{os.getpid()}.json"), "w") as file:
            json.dump({"argv": sys.argv[1:], "module": spec.name, "files": files}, file)

atexit.register(dump)
"""
"""A sitecustomize module: each stage's process leaves a list of the modules it loaded."""


class Project:
    """A copy of the project with few, small images, three recipes and a short training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.full(command), cwd=self.folder, env=self.environment(**environment), capture_output=True, text=True
        )
        if check:
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """In a process group of its own, so that everything it started can be killed at once."""
        return subprocess.Popen(
            self.full(command),
            cwd=self.folder,
            env=self.environment(**environment),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def full(self, command: tuple[str, ...]) -> list[str]:
        return (
            [sys.executable, "-m", *command]
            if command[0] == "dvc" or command[0].startswith("pipeline.")
            else [*command]
        )

    def environment(self, **more: str) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "PYTEST_", "GIT_"))}
        return kept | {"PATH": path, "OMP_NUM_THREADS": "1"} | more

    def params(self, change: Callable[[dict[str, Any]], None]) -> None:
        yaml = YAML()
        values = yaml.load((self.folder / "params.yaml").read_text())
        change(values)
        with (self.folder / "params.yaml").open("w") as file:
            yaml.dump(values, file)

    def lock(self) -> dict[str, Any]:
        return YAML(typ="safe", pure=True).load((self.folder / "dvc.lock").read_text())["stages"]

    def data_lock(self) -> dict[str, Any]:
        """What dvc.lock says of the stages that have to be bit-identical."""
        return {k: v for k, v in self.lock().items() if k.split("@")[0] in ("ingest", "synthesize", "shard")}

    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "metrics/summary.json").read_text())

    def wipe(self) -> None:
        """Everything the pipeline made, and DVC's cache."""
        self.run("git", "clean", "-fdxq", "-e", "/data/raw", "data", "metrics", ".dvc")
        (self.folder / "dvc.lock").unlink(missing_ok=True)


def shrink(params: dict[str, Any]) -> None:
    params["recipes"] = {name: params["recipes"][name] for name in RECIPES}
    params["ingest"]["leaves"] |= {"count": 6, "size": 96}
    params["ingest"]["max_side"] = 160
    for split in ("train", "val", "test"):
        params["synthesize"][split] |= {"photograph": 2, "leaves": 1}
    params["train"] |= {"max_steps": 12, "val_interval": 4, "val_images": 1, "val_crop": 64, "warmup_steps": 2}
    params["train"] |= {"batch": 4, "patch": 32, "workers": 0, "log_interval": 2}
    params["cost"]["images"] = [[32, 32], [16, 48]]


def copied(folder: Path, change: Callable[[dict[str, Any]], None], photograph: bool = True) -> Project:
    """The working tree in a repository of its own, with other parameters and, wanted, a photograph of one's own."""
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    if photograph:
        shutil.copy2(ROOT / "metrics/example.jpg", folder / "data/raw")  # which git ignores and DVC watches
    project = Project(folder)
    project.params(change)
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.email", "toy@example.org")
    project.run("git", "config", "user.name", "toy")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "toy")
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = copied(tmp_path_factory.mktemp("toy") / "project", shrink)
    folder = project.folder
    trace = folder.parent / "trace"
    trace.mkdir()
    (trace / "sitecustomize.py").write_text(TRACE)
    project.output = project.run("dvc", "repro", PYTHONPATH=str(trace), TRACE_FOLDER=str(trace))
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "results")
    return project


def test_everything_promised_is_there(project: Project):
    summary = project.summary()
    for key in ("input_psnr", "output_psnr", "gain_psnr"):
        assert isinstance(summary[key], float)
        assert set(summary["recipes"]) == set(RECIPES)
        assert all(isinstance(summary["recipes"][name][key], float) for name in RECIPES)
    assert summary["gain_psnr"] == pytest.approx(summary["output_psnr"] - summary["input_psnr"], abs=2e-4)
    for site in summary["adapters"].values():
        assert {"effective_rank_a", "effective_rank_d", "rank"} <= set(site)
    assert "<html" in (project.folder / "metrics/report.html").read_text()
    images = pl.read_parquet(project.folder / "metrics/images.parquet")
    assert images.filter("seen")["gain_psnr"].mean() == pytest.approx(summary["gain_psnr"], abs=1e-3)
    unseen = summary["compositions"]["unseen"]
    assert images.filter(~pl.col("seen"))["gain_psnr"].mean() == pytest.approx(unseen["gain_psnr"], abs=1e-3)
    assert set(images.filter(~pl.col("seen"))["recipe"]) == set(UNSEEN)


def test_an_unseen_composition_is_never_trained_on(project: Project):
    for split, there in (("train", False), ("val", False), ("test", True)):
        index = pl.read_parquet(project.folder / f"data/shards/{split}/haze_noise/index.parquet")
        assert bool(len(index)) == there
    lists = {split: json.loads((project.folder / f"data/dataset/{split}.json").read_text()) for split in SPLITS}
    assert [set(lists[split]["recipes"]) for split in SPLITS] == [set(TRAINED), set(TRAINED), set(RECIPES)]
    assert {name for name, one in lists["test"]["recipes"].items() if not one["seen"]} == set(UNSEEN)


def test_logs_are_quiet(project: Project):
    said = (project.output.stdout + project.output.stderr).lower().splitlines()
    text = "\n".join(line for line in said if not re.match(r"warning: \d+ photographs in (val|test), ", line))
    for word in ("warning", "traceback", "deprecat", "tip:"):
        assert word not in text


def test_test_photographs_are_never_trained_on(project: Project):
    hashes = {}
    for split in ("train", "val", "test"):
        tables = [pl.read_parquet(project.folder / f"data/shards/{split}/{name}/index.parquet") for name in RECIPES]
        hashes[split] = {clean for table in tables for clean in table["clean_id"]}
    assert hashes["train"]
    assert hashes["test"]
    assert not hashes["train"] & hashes["test"]
    assert not hashes["val"] & hashes["test"]


def test_lineage_is_in_the_store(project: Project):
    script = """
import json
from cea.lineage.tracking import Tracker, TrackingConfig
tracker = Tracker(TrackingConfig())
(run,) = tracker.client.search_runs([tracker.experiment_id])
artifacts = [f.path for f in tracker.client.list_artifacts(run.info.run_id)]
print(json.dumps({"status": run.info.status, "tags": run.data.tags, "params": run.data.params,
    "metrics": run.data.metrics, "artifacts": artifacts, "model": [f.path for f in
    tracker.client.list_artifacts(run.info.run_id, "model")],
    "inputs": [[i.dataset.name, i.dataset.digest] for i in run.inputs.dataset_inputs]}))
"""
    run = json.loads(project.run(sys.executable, "-c", script).stdout.splitlines()[-1])
    lock = project.lock()
    assert run["status"] == "FINISHED"
    assert run["params"]["train.max_steps"] == "12"
    assert run["tags"]["seed"] == run["params"]["seed"]
    assert len(run["tags"]["git.commit"]) == 40
    assert run["tags"]["git.dirty"] == "false"
    assert {"versions.torch", "hardware.cpu", "cea.code_sha256"} <= set(run["tags"])
    assert run["metrics"]["gain_psnr"] == project.summary()["gain_psnr"]
    assert set(project.summary()["routing"]) == {"encoder_0", "encoder_1", "middle"}
    assert all(project.summary()["routing"].values())
    assert len(run["metrics"]) < 30
    assert {name for name in run["metrics"] if name.startswith("gain_psnr_db/")} == {
        f"gain_psnr_db/{recipe}" for recipe in project.summary()["recipes"]
    }
    assert {"params.yaml", "dvc.lock", "pictures", "report.html", "summary.json", "lineage.json"} <= set(
        run["artifacts"]
    )
    assert run["model"] == ["model/best.safetensors", "model/history.parquet"]
    trained = {dep["path"]: dep["md5"] for dep in lock["train"]["deps"]}
    inputs = dict(run["inputs"])
    assert set(inputs) == {"train", "val", "test"}
    assert {name: inputs[name] for name in ("train", "val")} == {
        name: trained[f"data/dataset/{name}.json"] for name in ("train", "val")
    }
    for path, digest in trained.items():
        assert run["tags"][f"dvc.dep.{path}"] == digest


def test_what_python_loaded_is_what_dvc_watches(project: Project):
    lock, seen = project.lock(), set()
    logged = closure(["cea.provenance.served"], project.folder)  # MLflow runs it on an example at the end
    served = {file.as_posix() for file in logged} | {"cea/io/documents.py"}  # which the record of the run is read with
    engine = closure(["cea.data.clean", "cea.data.records", "cea.degradations.engine.render"], project.folder)
    rendering = {file.as_posix() for file in engine}  # for shards of records: their index has the pixels' digests
    checks = closure(["cea.data.verification", "cea.data.tar_cache"], project.folder)  # of what comes from afar
    apart = {"train": served | rendering | {file.as_posix() for file in checks}, "evaluate": rendering}
    for file in (project.folder.parent / "trace").glob("*.json"):
        loaded = json.loads(file.read_text())
        if loaded["module"] == "pipeline.preflight.check":
            continue
        command = " ".join(["python -m", loaded["module"], *loaded["argv"]])
        (stage,) = [name for name, entry in lock.items() if entry["cmd"] == command]
        seen.add(stage)
        if stage == "code":
            continue
        files = {
            str(Path(name).relative_to(project.folder))
            for name in loaded["files"]
            if Path(name).is_relative_to(project.folder) and Path(name).stat().st_size
        }
        name, _, recipe = stage.partition("@")
        listed = project.folder / "data/code" / (f"{name}/{recipe}.txt" if recipe else f"{name}.txt")
        digests = {line.split("  ")[1] for line in listed.read_text().splitlines()}
        left = {file for file in files - digests if not neutral(project.folder / file)}
        assert left - apart.get(stage, set()) == set(), stage
        assert f"data/code/{listed.relative_to(project.folder / 'data/code')}" in [
            dep["path"] for dep in lock[stage]["deps"]
        ]
    assert seen == set(lock)


def traced(project: Project, target: str, *options: str) -> dict[str, Any]:
    command = (sys.executable, "-m", "cea.cli", "trace", target, "--json", *options)
    return json.loads(project.run(*command).stdout)


def test_every_result_leads_back_to_its_photograph(project: Project):
    images = pl.read_parquet(project.folder / "metrics/images.parquet")
    sample, recipe = images["sample_id"][0], images["recipe"][0]
    facts = traced(project, sample, "--render")
    assert facts["rendered again"] == "identical, bit for bit"
    assert facts["recipe"] == recipe
    assert facts["split"] == "test"
    assert facts["clean photograph"]["licence"]
    assert facts["judged"]["output_psnr"] == images["output_psnr"][0]
    assert list(facts["commands"]) == ["ingest", f"synthesize@{recipe}", f"shard@{recipe}"]
    run_id = facts["restored by"]["runs"][0]["id"]
    assert facts["restored by"]["make the run again"] == f"cea reproduce {run_id}"
    assert len(facts["code"]["commit"]) == 40
    shard = project.folder / facts["shard"]["tar"]
    member = f"{sample}.degraded.png"
    where = facts["shard"]["members"][member]
    with shard.open("rb") as file:
        file.seek(where["offset"])
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    picture = json.loads((project.folder / "metrics/pictures/pictures.json").read_text())[0]["sample_id"]
    for target, wanted in (
        ("metrics/images.parquet:0", sample),
        (f"metrics/images.parquet:{sample}", sample),
        (f"{facts['shard']['tar']}:{member}", sample),
        (f"metrics/pictures/{picture}/input.png", picture),
    ):
        assert traced(project, target)["sample"] == wanted


def test_a_number_and_weights_are_traced_too(project: Project):
    number = traced(project, "metrics/summary.json:recipes.noise.gain_psnr")
    images = pl.read_parquet(project.folder / "metrics/images.parquet").filter(recipe="noise")
    assert number["samples"] == images["sample_id"].to_list()
    again = traced(project, "metrics/summary.json:recipes.noise.gain_psnr", "--render")
    assert again["rendered again"] == f"{len(images)} images, all identical, bit for bit"
    assert number["value"] == pytest.approx(images["gain_psnr"].mean(), abs=1e-4)
    weights = traced(project, "data/model/best.safetensors")
    assert weights["model"]["adapter"] == "cea"
    assert list(weights["commands"])[-1] == "train"
    assert [run["status"] for run in weights["runs"]] == ["FINISHED"]
    assert weights["sha256"] == number["weights"]
    command = (sys.executable, "-m", "cea.cli", "trace", "data/model/best.safetensors", "--render")
    done = project.run(*command, check=False)
    assert (done.returncode, "cea reproduce data/model/best.safetensors trains them" in done.stderr) == (2, True)


def test_every_example_of_the_report_has_its_trace(project: Project):
    page = (project.folder / "metrics/report.html").read_text()
    pictures = [picture["sample_id"] for picture in json.loads((project.folder / PICTURES).read_text())]
    assert page.count('<details class="trace">') == len(pictures) > 3
    commit = project.run("git", "rev-parse", "HEAD~1").stdout[:12]
    for sample in pictures:
        way = page[: page.index(f"<code>cea trace {sample} --render</code>")]
        way = way[way.rindex('<details class="trace">') :]
        facts = traced(project, sample)
        place = facts["shard"]["members"][f"{sample}.degraded.png"]
        assert f"{facts['shard']['tar']}, degraded image at byte {place['offset']}, {place['bytes']} bytes" in way
        assert facts["clean photograph"]["licence"] in html.unescape(way)
        assert f"commit {commit}" in way
        for node in facts["degradations"].values():
            numbers = [value for value in node["params"].values() if isinstance(value, float)]
            assert all(f" {value:.6g}" in way for value in numbers)
    assert page.count("cea-record-1:") == 1
    assert page.index("cea-record-1:") > page.index('<script type="application/json" id="record">')


def test_whatever_came_of_a_run_leads_to_its_record(project: Project):
    run_id = json.loads((project.folder / "metrics/lineage.json").read_text())["run"]["id"]
    for target in (run_id, "metrics/report.html", "metrics/summary.json", "data/model/best.safetensors"):
        command = (sys.executable, "-m", "cea.cli", "reproduce", target, "--dry-run", "--json")
        plan = json.loads(project.run(*command).stdout)
        assert run_id in plan["run"]
        assert plan["raw input"] == {"data/raw/example.jpg": "data/raw/example.jpg"}
        assert (plan["other versions"], plan["other hardware"]) == ({}, {})


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nobody-noise-0000", "no sample is called"),
        ("data/shards/test/noise/000000.tar", "not a thing that can be traced"),
        ("metrics/images.parquet:9999", "has no row 9999"),
        ("metrics/summary.json:recipes.noise.beauty", "has no recipes.noise.beauty"),
        ("README.md", "not a thing that can be traced"),
        ("data/nothing.safetensors", "no such file"),
    ],
)
def test_what_cannot_be_traced_gets_one_line(project: Project, target: str, says: str):
    done = project.run(sys.executable, "-m", "cea.cli", "trace", target, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


LOADED_FOR_THE_RECORD = (
    *("cea/lineage/*.py", "cea/provenance/served.py", "cea/io/documents.py", "cea/extras.py"),
    # MLflow runs the model that ``train`` logs on an example.
    *("cea/inference.py", "cea/restoring/*.py", "cea/io/arrays.py", "cea/io/writer.py", "cea/weights/default.py"),
)
"""What only modules load that say that they change no result."""


def neutral(file: Path) -> bool:
    """Whether a module says that it changes no result, or is only loaded by modules that say so."""
    named = any(file.match(pattern) for pattern in LOADED_FOR_THE_RECORD)
    return named or "CHANGES_NO_RESULT = True" in file.read_text()


def test_nothing_to_do_the_second_time(project: Project):
    assert "up to date" in project.run("dvc", "repro").stdout


def test_comparison_runs_each_cell_once_on_the_same_data(project: Project):
    """Two adapters, one seed; then again, with nothing repeated."""
    command = (
        "pipeline.comparison.compare",
        "--steps",
        "4",
        "--jobs",
        "2",
        "--seeds",
        "1",
        "--adapters",
        "cea",
        "film",
    )
    assert "0 of 2 runs are there" in project.run(*command).stdout
    assert "2 of 2 runs are there" in project.run(*command).stdout
    found = json.loads((project.folder / "comparison/comparison.json").read_text())
    assert [run["experiment"] for run in found["runs"]] == ["cmp-cea-s1", "cmp-film-s1"]
    assert found["costs"]["film"]["parameters"] == pytest.approx(found["costs"]["cea"]["parameters"], rel=0.01)
    (film,) = [row for row in found["table"] if row["by"] == "all" and row["variant"] == "film"]
    tables = [pl.read_parquet(project.folder / f"comparison/images/cmp-{name}-s1.parquet") for name in ("film", "cea")]
    means = [table.filter("seen")["output_psnr"].mean() for table in tables]
    assert film["difference"] == pytest.approx(means[0] - means[1], abs=1e-3)
    yaml = YAML(typ="safe", pure=True)
    for run in found["runs"]:
        stages = yaml.load(project.run("git", "show", f"{run['commit']}:dvc.lock").stdout)["stages"]
        assert {name: stages[name] for name in project.data_lock()} == project.data_lock()
    script = """
import json
from cea.lineage.tracking import Tracker, TrackingConfig
tracker = Tracker(TrackingConfig())
runs = tracker.client.search_runs([tracker.experiment_id], "tags.comparison = 'cmp'")
print(json.dumps({run.info.run_name: [run.data.params["train.seed"], sorted(run.data.metrics)] for run in runs}))
"""
    logged = json.loads(project.run(sys.executable, "-c", script).stdout.splitlines()[-1])
    assert {name: seed for name, (seed, _) in logged.items()} == {"cmp-cea-s1": "1", "cmp-film-s1": "1"}
    for _, metrics in logged.values():
        assert {"cost/parameters", "cost/gmacs_224px", "gain_psnr"} <= set(metrics)
    shutil.rmtree(project.folder / "comparison")
    assert len(list((project.folder / "docs/comparison/cmp").glob("cmp-*-s1.json"))) == 2
    shutil.rmtree(project.folder / "docs/comparison/cmp")


def test_another_rank_reruns_training_and_what_follows(project: Project):
    before = project.lock()
    out = project.run("dvc", "exp", "run", "-S", "model.rank=4").stdout
    touched = {"train", "evaluate", "report"}
    assert {line.split("'")[1] for line in out.splitlines() if line.startswith("Running stage")} == touched
    after = project.lock()
    assert {name for name in after if after[name] != before[name]} == touched
    assert all(site["rank"] == 4 for site in project.summary()["adapters"].values())
    project.run("git", "checkout", "-q", "--", ".")
    project.run("dvc", "checkout")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("train.lr=-1", "train.lr = -1"),
        ("report.quality=1000", "report.quality = 1000"),
        ("shard.samples_per_tar=0", "shard.samples_per_tar = 0"),
    ],
)
def test_a_wrong_value_loses_nothing_that_was_made(project: Project, value: str, says: str):
    """DVC removes a stage's results before the stage can refuse a value, and has them in its cache."""
    before = project.lock()
    weights = (project.folder / "data/model/best.safetensors").read_bytes()
    done = project.run("dvc", "exp", "run", "-S", value, check=False)
    assert done.returncode != 0
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]
    assert says in line
    assert (project.folder / "data/shards/train/haze/index.parquet").is_file()
    project.run("git", "checkout", "-q", "--", "params.yaml")
    out = project.run("dvc", "repro").stdout
    ran = {line.split("'")[1] for line in out.splitlines() if line.startswith("Running stage")}
    assert ran <= {"code", "report"}, "seconds, and neither trained nor evaluated"
    assert (project.folder / "data/model/best.safetensors").read_bytes() == weights
    assert "up to date" in project.run("dvc", "status").stdout
    after = project.lock()
    assert {name for name in after if after[name] != before[name]} <= {"report"}  # the page was made anew
    assert project.run("git", "status", "--porcelain", "params.yaml", "metrics/*.json", "metrics/*.csv").stdout == ""
    project.run("git", "checkout", "-q", "--", ".")
    project.run("dvc", "checkout")


def is_locked(path: Path) -> bool:
    """Whether a process holds the trainers' lock."""
    with path.open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def until(true: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_orphaned_trainer_writes_over_nothing_that_dvc_restored(project: Project):
    """Its DVC is killed, and DVC takes the former training from its cache while the trainer still lives."""
    state, lock = project.folder / "data/state", project.folder / "data/state.lock"
    shutil.rmtree(state, ignore_errors=True)
    before = [(project.folder / name).read_bytes() for name in ("data/model/best.safetensors", "metrics/lineage.json")]
    project.params(lambda params: params["train"].update(max_steps=40))
    dvc = project.start("dvc", "repro", "--single-item", "train")
    try:
        until(lambda: any(state.glob("resume-*.ckpt")) or dvc.poll() is not None)
        orphan = int(lock.read_text())
        os.kill(orphan, signal.SIGSTOP)
        dvc.kill()
        dvc.wait()
        assert is_locked(lock)
        project.run("git", "checkout", "-q", "--", "params.yaml")
        assert "Stage 'train' is cached" in project.run("dvc", "repro").stdout
        os.kill(orphan, signal.SIGCONT)
        until(lambda: not is_locked(lock))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(dvc.pid, signal.SIGKILL)
    after = [(project.folder / name).read_bytes() for name in ("data/model/best.safetensors", "metrics/lineage.json")]
    assert after == before
    assert any(state.glob("resume-*.ckpt")), "the orphan's own work"
    shutil.rmtree(state)
    assert "up to date" in project.run("dvc", "status").stdout
    assert project.run("git", "status", "--porcelain", "dvc.lock", "metrics").stdout == ""


def test_another_unseen_composition_trains_nothing_anew(project: Project):
    node = {"training": False, "order": "physical", "nodes": {"low": {}, "noise": {"sigma_255": [15, 50]}}}
    project.params(lambda params: params["recipes"].update(low_noise=node))
    project.run("dvc", "repro", "code", "shard@low_noise", "dataset")
    status = json.loads(project.run("dvc", "status", "--json").stdout)
    assert "evaluate" in status
    assert not {"ingest", "train", *(f"shard@{recipe}" for recipe in RECIPES)} & set(status)
    project.run("git", "checkout", "-q", "--", ".")
    project.run("dvc", "repro", "dataset")
    assert not (project.folder / "data/shards/test/low_noise").exists()
    assert "up to date" in project.run("dvc", "status").stdout


COMMENT, CONSTANT = "\n# another word\n", "\nANOTHER = 1\n"


def per_recipe(*recipes: str) -> set[str]:
    return {f"{stage}@{recipe}" for stage in ("synthesize", "shard") for recipe in recipes}


@pytest.mark.parametrize(
    ("path", "old", "new", "stages"),
    [
        ("cea/errors.py", "where it was found", "where it stood", set()),  # in a docstring
        ("cea/degradations/families/noise.py", "", COMMENT, set()),
        ("cea/training/progress.py", "", CONSTANT, set()),
        ("cea/lineage/tracking.py", "", CONSTANT, set()),
        ("cea/degradations/families/noise.py", "", CONSTANT, per_recipe("noise", "haze_noise")),
        ("cea/degradations/families/haze.py", "", CONSTANT, per_recipe("haze", "low_haze", "haze_noise")),
        ("cea/degradations/families/snow.py", "", CONSTANT, set()),  # of no recipe here
        ("cea/report/page.html", "<html", "<html data-x", {"report"}),
        ("cea/models/measure/stopwatch.py", "", CONSTANT, {"evaluate"}),
        ("cea/models/blocks/nafnet.py", "", CONSTANT, {"train", "evaluate"}),
        ("cea/models/adapters/film.py", "", CONSTANT, set()),  # not the adapter chosen
    ],
)
def test_a_change_touches_what_it_concerns_and_nothing_else(project: Project, path, old, new, stages):
    """What `dvc status` calls changed, once the listings of the code have been written again."""
    file = project.folder / path
    before = file.read_text()
    assert old in before
    file.write_text(before.replace(old, new, 1) if old else before + new)
    project.run("dvc", "repro", "code")
    status = json.loads(project.run("dvc", "status", "--json").stdout)
    file.write_text(before)
    project.run("dvc", "repro", "code")
    assert set(status) == stages
    assert "up to date" in project.run("dvc", "status").stdout


def test_another_label_is_judged_by_and_not_trained_on(project: Project):
    """Severity maps of other values at the same pixels."""
    file = project.folder / "cea/degradations/families/haze.py"
    before, label = file.read_text(), "Applied(hazy, severity, labels)"
    assert before.count(label) == 1
    weights = (project.folder / "data/model/best.safetensors").read_bytes()
    splits = [json.loads((project.folder / f"data/dataset/{split}.json").read_text())["recipes"] for split in SPLITS]
    table = pl.read_parquet(project.folder / "metrics/images.parquet")
    file.write_text(before.replace(label, "Applied(hazy, severity * np.float32(0.5), labels)"))
    out = project.run("dvc", "repro").stdout
    ran = {line.split("'")[1] for line in out.splitlines() if line.startswith("Running stage")}
    assert ran == {"code", "dataset", "evaluate", "report", *per_recipe("haze", "low_haze", "haze_noise")}
    for split, old in zip(SPLITS, splits, strict=True):
        new = json.loads((project.folder / f"data/dataset/{split}.json").read_text())["recipes"]
        assert {name: one["sha256"] for name, one in new.items()} == {name: one["sha256"] for name, one in old.items()}
    judged = pl.read_parquet(project.folder / "metrics/images.parquet")
    same = [name for name in judged.columns if name != "severity"]
    assert judged.select(same).equals(table.select(same))
    hazy = pl.col("recipe") == "haze"
    halves = [old[0] / 2 for old in table.filter(hazy)["severity"].to_list()]
    assert [new[0] for new in judged.filter(hazy)["severity"].to_list()] == pytest.approx(halves, abs=1 / 255)
    assert (project.folder / "data/model/best.safetensors").read_bytes() == weights
    file.write_text(before)
    project.run("git", "checkout", "-q", "--", "dvc.lock", "metrics")
    project.run("dvc", "checkout")
    assert "up to date" in project.run("dvc", "status").stdout


def test_a_plugin_is_one_file_and_a_few_lines(project: Project):
    (project.folder / "plugins/darker.py").write_text(
        "from cea.degradations.contract.functions import family\n\n\n"
        "def sample(rng):\n    return {'factor': float(rng.uniform(0.3, 0.6))}\n\n\n"
        "def apply(image, values, rng):\n    return image * values['factor']\n\n\n"
        "Darker = family('Darker', sample, apply)\n"
    )
    project.params(lambda params: params["recipes"].update(dim={"training": False, "nodes": {"Darker": {}}}))
    out = project.run("dvc", "repro", "dataset").stdout
    assert {line.split("'")[1] for line in out.splitlines() if line.startswith("Running stage")} == {
        "code",
        "synthesize@dim",
        "shard@dim",
        "tiles",
        "dataset",
    }
    listed = (project.folder / "data/code/shard/dim.txt").read_text()
    assert "  plugins/darker.py\n" in listed
    (project.folder / "plugins/darker.py").unlink()
    project.run("git", "checkout", "-q", "--", ".")
    project.run("dvc", "repro", "dataset")


def test_a_fresh_clone_with_the_cache_is_up_to_date(project: Project, tmp_path: Path):
    project.run("git", "clone", "-q", str(project.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.run("dvc", "cache", "dir", str(project.folder / ".dvc/cache"), "--local")
    shutil.copy2(project.folder / "data/raw/example.jpg", clone.folder / "data/raw")
    clone.run("dvc", "checkout")
    assert "up to date" in clone.run("dvc", "status").stdout


def test_the_same_again_from_nothing_with_another_worker_count(project: Project):
    lock, summary = project.data_lock(), project.summary()
    for workers in ("1", "2"):
        project.wipe()
        data_only = ["train"]
        project.run("dvc", "repro", *(data_only if workers == "1" else []), CEA_WORKERS=workers)
        assert project.data_lock() == lock
    again = project.summary()
    for recipe in RECIPES:
        assert again["recipes"][recipe]["output_psnr"] == pytest.approx(
            summary["recipes"][recipe]["output_psnr"], abs=0.05
        )


@pytest.mark.parametrize(
    ("stage", "sign"),
    [
        ("ingest", "data/clean"),
        ("shard@haze", "data/shards/train/haze"),
        ("train", "data/state/resume-*.ckpt"),
        ("evaluate", "metrics/pictures"),
    ],
)
def test_a_killed_stage_is_simply_run_again(project: Project, stage: str, sign: str):
    """Killed as soon as it has begun to write; the next run ends where an undisturbed one ended."""
    lock, summary = project.lock(), project.summary()
    path = project.folder / sign
    shutil.rmtree(project.folder / "data/state", ignore_errors=True)
    running = project.start("dvc", "repro", "--force", "--single-item", stage)
    parent, deadline = path.parent, time.monotonic() + 120
    while running.poll() is None and time.monotonic() < deadline:
        begun = (
            any(parent.glob(path.name))
            if path.suffix
            else any(parent.glob(f".{path.name}.*")) or any(parent.glob(f"{path.name}/*/"))
        )
        if begun:
            break
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    project.run("dvc", "repro")
    after = project.lock()
    assert {
        name: after[name].get("outs") for name in after if name.split("@")[0] in ("ingest", "synthesize", "shard")
    } == {name: lock[name].get("outs") for name in lock if name.split("@")[0] in ("ingest", "synthesize", "shard")}
    assert project.summary()["output_psnr"] == pytest.approx(summary["output_psnr"], abs=0.05)
