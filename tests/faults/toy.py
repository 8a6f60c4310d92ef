"""The stages of a small project one by one, as DVC runs them, and what each leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ("noise", "low_haze")
SPLITS = ("train", "val", "test")
TILES = "data/shards/tiles"
METRICS = {"metrics": "metrics/."}


@dataclass(frozen=True)
class Stage:
    """One stage of the toy: what it is called with, what it makes, and how much of that is the same on every run."""

    name: str
    paths: dict[str, str]
    outs: tuple[str, ...]
    timed: tuple[str, ...] = ()
    """Files among the outputs that hold times, and are only compared for being there."""


def stages() -> list[Stage]:
    """In the order in which they run."""
    lists = {split: f"data/dataset/{split}.json" for split in SPLITS}
    places = {"dataset": "data/dataset", "shards": "data/shards", "model": "data/model", "state": "data/state"}
    leaks = {"clean": "data/clean", "testsets": "data/testsets", "verdict": "data/leaks.json"}
    timed = tuple(f"metrics/{name}" for name in ("lineage.json", "training.json", "cost.json", "report.html"))
    trained = ("data/model", "metrics/train_loss.csv", "metrics/val_gain_psnr.csv", *timed[:2])
    judged = tuple(f"metrics/{name}" for name in ("images.parquet", "bins.parquet", "pictures", "summary.json"))
    return [
        Stage("code", {"code": "data/code"}, ("data/code",)),
        Stage("ingest", {"clean": "data/clean"}, ("data/clean",)),
        *(stage for recipe in RECIPES for stage in _of_recipe(recipe)),
        Stage("tiles", {"clean": "data/clean", "records": "data/records", "tiles": TILES}, (TILES,)),
        Stage("dataset", {"shards": "data/shards", **lists}, tuple(lists.values())),
        Stage("leaks", leaks, ("data/leaks.json",)),
        Stage("train", places | METRICS, trained, timed),
        Stage("evaluate", places | METRICS, (*judged, timed[2]), timed),
        Stage("report", {"model": "data/model"} | METRICS, timed[3:], timed),
    ]


def _of_recipe(recipe: str) -> tuple[Stage, Stage]:
    records = f"data/records/{recipe}.parquet"
    shards = {split: f"data/shards/{split}/{recipe}" for split in SPLITS}
    return (
        Stage("synthesize", {"clean": "data/clean", "records": records, "recipe": recipe}, (records,)),
        Stage("shard", {"clean": "data/clean", "records": records, **shards}, tuple(shards.values())),
    )


def _locked() -> dict[str, Any]:
    """What DVC would have written of all stages, as far as they read it."""
    found = {}
    for stage in stages():
        recipe = Path(stage.paths["records"]).stem if stage.name in ("synthesize", "shard") else ""
        outs = [{"path": path, "md5": "0" * 32} for path in stage.outs]
        found[f"{stage.name}@{recipe}" if recipe else stage.name] = {"cmd": "true", "deps": [], "outs": outs}
    return found


def make(folder: Path) -> None:
    """The project: its code and stages by links, parameters of seconds, no DVC and no git."""
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/testsets").mkdir()
    (folder / "metrics").mkdir()
    for name in ("cea", "pipeline", "plugins", "dvc.yaml"):
        (folder / name).symlink_to(ROOT / name)
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text())
    params["recipes"] = {name: params["recipes"][name] for name in RECIPES}
    params["ingest"]["leaves"] |= {"count": 4, "size": 96}
    params["ingest"]["max_side"] = 96
    for split in SPLITS:
        params["synthesize"][split] |= {"photograph": 1, "leaves": 1}
    params["train"] |= {"max_steps": 6, "val_interval": 2, "val_images": 1, "val_crop": 32, "warmup_steps": 1}
    params["train"] |= {"batch": 2, "patch": 16, "workers": 0, "log_interval": 1, "threads": 1}
    params["model"] |= {"width": 8, "rank": 2}
    params["cost"]["images"] = [[16, 16]]
    params["evaluate"] |= {"lpips": False, "workers": 1}
    with (folder / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    with (folder / "dvc.lock").open("w") as file:
        yaml.dump({"schema": "2.0", "stages": _locked()}, file)


class Zygote:
    """The process that forks a stage at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
        more = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CEA_WORKERS": "1", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            cwd=folder,
            env=kept | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        while self._process.stdout.readline() not in ("ready\n", ""):
            pass

    def run(self, stage: Stage, **order: Any) -> dict[str, Any]:
        """As DVC runs a stage: its outputs are gone before it starts. What the child answers."""
        for out in stage.outs:
            path = self.folder / out
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"stage": stage.name, "paths": stage.paths, **order}) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def digests(folder: Path, stage: Stage) -> dict[str, str]:
    """File -> SHA-256 of everything below the stage's outputs that is there under its own name."""
    found = {}
    for out in stage.outs:
        place = folder / out
        for path in place.rglob("*") if place.is_dir() else [place]:
            name = str(path.relative_to(folder))
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)  # one of its folders may be
            if path.is_file() and not hidden:
                found[name] = "" if name in stage.timed else hashlib.sha256(path.read_bytes()).hexdigest()
    return found
