"""Write into dvc.yaml what follows from params.yaml and from the imports: recipes, and every code dependency.

DVC does not follow Python imports and cannot take a list from params.yaml as dependencies, so both would have to be
kept in step by hand. ``make wire`` does it; a stage run checks nothing, ``make repro`` and the tests check it.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import FoldedScalarString

from cea.config import load, read_params, section
from cea.degradations.engine.recipes import RecipeConfig, modules_of
from cea.evaluation.config import EvaluationConfig
from cea.io.images import write_bytes
from pipeline.imports import closure

PER_RECIPE = ("synthesize", "shard")
BENCHMARKED = ("leaks", "evaluate")
FAMILIES = "cea.degradations."


def wired(root: Path) -> str:
    """The text that dvc.yaml should hold, given the params.yaml and the code under ``root``."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 4096, True
    yaml.indent(mapping=2, sequence=2, offset=0)
    document = yaml.load((root / "dvc.yaml").read_text(encoding="utf-8"))
    params = read_params(root / "params.yaml")
    _wire_recipes(document, params, root)
    for name, stage in document["stages"].items():
        if name not in PER_RECIPE:
            _wire_stage(stage, _by_training(params), root)
        if name in BENCHMARKED:
            stage["deps"] += _folders(params, photographs=name == "evaluate")
    text = io.StringIO()
    yaml.dump(document, text)
    return text.getvalue()


def _wire_recipes(document: Any, params: dict[str, Any], root: Path) -> None:
    """Each recipe depends on the families it uses; shorter lists repeat their last file, for DVC wants equal ones."""
    common = {stage: _code(document["stages"][stage]["do"], root) for stage in PER_RECIPE}
    shared = set.intersection(*({*files} for files in common.values()))
    own = {}
    for name in section(params, "recipes"):
        modules = modules_of(load(RecipeConfig, params, f"recipes.{name}"))
        files = set().union(*(closure(module, root, lambda _: False) for module in modules))
        own[name] = sorted(map(str, files - shared)) or [sorted(map(str, files))[0]]
    longest = max(map(len, own.values()))
    table = CommentedMap({name: _row(files + files[-1:] * (longest - len(files))) for name, files in own.items()})
    document["vars"][0]["recipe_code"] = table
    for stage, files in common.items():
        do = document["stages"][stage]["do"]
        do["deps"] = [*_data(do), *(f"${{item[{slot}]}}" for slot in range(longest)), *sorted(map(str, files))]


def _by_training(params: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The recipes that are trained on, and those that are only tested on."""
    trained = {name: load(RecipeConfig, params, f"recipes.{name}").training for name in section(params, "recipes")}
    return [name for name in trained if trained[name]], [name for name in trained if not trained[name]]


def _folders(params: dict[str, Any], *, photographs: bool) -> list[str]:
    """Test images on disk. DVC fills in the paths itself, so that -S evaluate.benchmarks.<name>.path=... works, too."""
    config = load(EvaluationConfig, params, "evaluate")
    keys = [f"benchmarks.{name}.path" for name in config.benchmarks]
    keys += [f"photographs.{name}" for name in config.photographs if photographs]
    return [f"${{evaluate.{key}}}" for key in keys]


def _wire_stage(stage: Any, recipes: tuple[list[str], list[str]], root: Path) -> None:
    """Training depends on the recipes it is for and no others, so that a further test re-runs no training."""
    trained, unseen = recipes
    data = [dep for dep in _data(stage) if not dep.startswith("data/shards/")]
    splits = [word for word in ("train", "val", "test") if f"--{word} " in stage["cmd"] + " "]
    for split in splits:
        data += [f"data/shards/{split}/{recipe}" for recipe in (trained + unseen if split == "test" else trained)]
    stage["deps"] = [*data, *sorted(map(str, _code(stage, root)))]
    command, option, _ = stage["cmd"].partition(" --recipes")
    if option:
        more = f" --unseen {' '.join(unseen)}" if unseen and "test" in splits else ""
        stage["cmd"] = _folded(f"{command}{option} {' '.join(trained)}{more}")


def _folded(command: str) -> FoldedScalarString:
    """A long command over several lines (``>-``), broken where an option begins."""
    folded = FoldedScalarString(command)
    folded.fold_pos = [found.start() for found in re.finditer(r" (?=--)", command)]
    return folded


def _code(stage: Any, root: Path) -> set[Path]:
    return closure(stage["cmd"].split()[2], root, lambda module: not module.startswith(FAMILIES))


def _data(stage: Any) -> list[str]:
    """Dependencies that are not Python files: data, and what lies beside the code."""
    return [dep for dep in stage["deps"] if not dep.endswith(".py") and not dep.startswith("${")]


def _row(files: list[str]) -> CommentedSeq:
    row = CommentedSeq(files)
    row.fa.set_flow_style()
    return row


if __name__ == "__main__":
    before = Path("dvc.yaml").read_text(encoding="utf-8")
    after = wired(Path.cwd())
    if after != before:
        write_bytes(Path("dvc.yaml"), after.encode())
    sys.stdout.write("dvc.yaml is up to date\n" if after == before else "dvc.yaml was rewritten; look at git diff\n")
