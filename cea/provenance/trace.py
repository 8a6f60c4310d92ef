"""The way back from a result to the clean photograph, with every drawn number and command on the way."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from cea.data.clean import load_clean, read_clean
from cea.data.reading import read_sample
from cea.data.records import to_record
from cea.degradations.engine.render import render
from cea.errors import DataError
from cea.evaluation.columns import IMAGES
from cea.io.documents import read_json
from cea.io.images import pixel_sha256
from cea.io.tables import read_table
from cea.lineage.facts import git_state
from cea.lineage.project import LockedStage, Project
from cea.provenance.samples import Facts, clean_facts, drawn_facts, find_sample, first_row, output_of, sample_row
from cea.types import ImageU8


def trace(project: Project, target: str) -> Facts:
    """What ``target`` is and where it came from.

    Args:
        project: whose files it is one of.
        target: a sample id; ``images.parquet:12`` (row, counted from 0) or ``images.parquet:SAMPLE``; a tar and its
            member, ``000000.tar:SAMPLE.degraded.png``; a picture of the report, ``metrics/pictures/SAMPLE/input.png``;
            weights, ``best.safetensors``; a number, ``summary.json:recipes.low.gain_psnr``; or a clean image.

    Raises:
        DataError: there is no such thing in the project.
    """
    path, _, inside = _split(target)
    if path.suffix == ".safetensors":
        return weights_facts(project, path)
    if path.suffix == ".json" and inside:
        return number_facts(project, path, inside)
    clean = _clean_of(project, path) if path.suffix == ".png" and path.is_file() else None
    if clean is not None:
        return {"kind": "clean photograph", **clean_facts(clean)} | _origin(project, ["ingest"])
    return sample_facts(project, sample_id(project, target))


def samples_behind(project: Project, target: str) -> list[str]:
    """The samples whose degraded pixels ``target`` (see `trace`) is made of: all those that a number is the mean of.

    Raises:
        DataError: it is made of none.
    """
    path, _, inside = _split(target)
    if path.suffix == ".json" and inside:
        samples = number_facts(project, path, inside).get("samples")
        if samples:
            return list(samples)
        raise _no_pixels(target, "for example summary.json:gain_psnr, or the id of a sample")
    if path.suffix == ".safetensors":
        raise _no_pixels(target, f"cea reproduce {path} trains them again and compares")
    if path.suffix == ".png" and path.is_file() and _clean_of(project, path) is not None:
        raise _no_pixels(target, "pass the id of a sample made from it")
    return [sample_id(project, target)]


def sample_id(project: Project, target: str) -> str:
    """The sample that ``target`` (see `trace`) belongs to.

    Raises:
        DataError: it names none.
    """
    path, _, inside = _split(target)
    if path.suffix == ".parquet":
        return _row(path, inside)
    if path.suffix == ".tar" and inside:
        return inside.partition(".")[0]
    if path.suffix in (".png", ".npz"):
        return path.parent.name
    if path.suffix or "/" in target:
        raise _unknown(target)
    return target


def sample_facts(project: Project, sample: str) -> Facts:
    """Everything about one degraded sample; see `trace`."""
    facts = drawn_facts(project, sample)
    judged = _judged(project, sample)
    return {
        **facts,
        **(judged and judged | {"restored by": _run_of(project)}),
        "make it again": f"cea trace {sample} --render",
    } | _origin(project, ["ingest", f"synthesize@{facts['recipe']}", f"shard@{facts['recipe']}"])


def render_again(project: Project, sample: str) -> tuple[ImageU8, bool]:
    """The degraded pixels of a sample from its record and clean image, and whether the shard holds the same.

    Returns:
        (H, W, 3) uint8, and True where every pixel equals the stored one.
    """
    place = find_sample(project, sample)
    folder = project.root / output_of(project, "ingest")
    clean = load_clean(folder, place.clean["file"], place.clean["depth_file"], place.clean["sha256"])
    made = render(to_record(place.record), clean.rgb, inverse_depth=clean.inverse_depth).degraded
    stored = read_sample(place.shard, place.index).degraded
    return made, pixel_sha256(made) == pixel_sha256(stored) == place.index["degraded_sha256"]


def weights_facts(project: Project, path: Path) -> Facts:
    """Where a file of weights came from: its own header, and the stage that made it, if it is this project's."""
    from cea.models.checkpoint import read_metadata

    config, metadata = read_metadata(path)
    digest = _file_sha256(path)
    ours = project.maker(path.resolve()) if path.exists() else None
    facts: Facts = {"kind": "weights", "file": str(path), "sha256": digest, "trained": metadata, "model": config}
    if ours is None:
        return facts | {"project": "none of this project's stages wrote this file"}
    return facts | _origin(project, [stage.name for stage in project.chain(ours)]) | _run_of(project)


def number_facts(project: Project, path: Path, key: str) -> Facts:
    """What a number of ``summary.json`` is the mean of, and where the images are from."""
    value = _lookup(path, key)
    images = output_of(project, "evaluate", "images.parquet")
    table = read_table(project.root / images, IMAGES, remedy="dvc checkout, or dvc repro")
    rows, what = _behind(table, key)
    facts: Facts = {"kind": "number", "file": str(path), "key": key, "value": value, "is": what, "table": images}
    if rows is not None and not rows.is_empty():
        facts |= {"images": len(rows), "samples": rows["sample_id"].to_list()}
    return facts | _origin(project, [stage.name for stage in project.instances("evaluate")]) | _run_of(project)


def _behind(table: pl.DataFrame, key: str) -> tuple[pl.DataFrame | None, str]:
    """The rows of the per-image table that a number averages, and a sentence."""
    from cea.evaluation.summary import trained_on

    group, _, column = key.rpartition(".")
    main = trained_on(table)
    parts: dict[str, pl.DataFrame] = {
        "": main,
        **{f"recipes.{name}": table.filter(recipe=name) for name in table["recipe"].unique()},
        **{f"n_components.{n}": main.filter(n_components=n) for n in main["n_components"].unique()},
        "spatial.uniform": main.filter(uniform=True),
        "spatial.nonuniform": main.filter(uniform=False),
    }
    if group in parts and column in table.columns:
        return parts[group], f"the mean of column {column} over the images listed"
    return parts.get(group), f"computed by the evaluate stage from {group or 'all images'}"


def _lookup(path: Path, key: str) -> Any:
    whole = read_json(path, expected="a summary.json", remedy="run dvc repro, or correct the file")
    value: Any = whole
    try:
        for part in key.split("."):
            value = value[part]
        return value
    except (KeyError, TypeError):
        near = difflib.get_close_matches(key, _numbers(whole), n=3, cutoff=0.3)
        remedy = f"did you mean {' or '.join(near)}?" if near else "choose one of the file's keys"
        raise DataError(
            f"{path} has no {key}", expected="a dotted key, such as recipes.low.gain_psnr", remedy=remedy
        ) from None


def _numbers(tree: Any, above: str = "") -> list[str]:
    """The dotted keys of everything in ``tree`` that is no mapping."""
    if not isinstance(tree, dict):
        return [above]
    return [key for name, value in tree.items() for key in _numbers(value, f"{above}.{name}" if above else str(name))]


def _split(target: str) -> tuple[Path, str, str]:
    """A file and what is meant inside it: ``a.tar:member``; also ``a.tar/member``, as archives are browsed."""
    match = re.match(r"^(.*\.(?:tar|parquet|json|safetensors))[:/#](.+)$", target)
    return (Path(match[1]), ":", match[2]) if match else (Path(target), "", "")


def _row(path: Path, inside: str) -> str:
    names = read_table(path, {"sample_id": pl.String}, remedy="pass a table of images")["sample_id"]
    if inside in set(names):
        return inside
    if inside.isdecimal() and int(inside) < len(names):
        return str(names[int(inside)])
    raise DataError(
        f"{path} has no row {inside or '(none given)'}",
        expected=f"FILE:ROW with a row from 0 to {len(names) - 1}, or FILE:SAMPLE",
        remedy=f"for example: cea trace {path}:0",
    )


def _no_pixels(target: str, remedy: str) -> DataError:
    return DataError(f"{target}: no degraded pixels to make again", expected="a sample or a mean", remedy=remedy)


def _unknown(target: str) -> DataError:
    return DataError(
        f"{target}: not a thing that can be traced",
        expected="a sample id, TABLE.parquet:ROW, SHARD.tar:MEMBER, a picture, WEIGHTS.safetensors, or"
        " summary.json:KEY",
        remedy="see cea trace --help",
    )


def _clean_of(project: Project, path: Path) -> Mapping[str, Any] | None:
    folder = (project.root / output_of(project, "ingest")).resolve()
    if not path.resolve().is_relative_to(folder):
        return None
    return first_row(read_clean(folder).lazy(), pl.col("file") == path.resolve().relative_to(folder).as_posix())


def _judged(project: Project, sample: str) -> Facts:
    for stage in project.instances("evaluate"):
        for path in stage.outputs:
            if Path(path).name == "images.parquet" and (project.root / path).is_file():
                row = sample_row(project.root / path, sample)
                scores = ("input_psnr", "output_psnr", "gain_psnr", "input_ssim", "output_ssim")
                return {} if row is None else {"judged": {name: row[name] for name in scores}}
    return {}


def _origin(project: Project, stages: list[str]) -> Facts:
    known = [project.stages[name] for name in stages if name in project.stages]
    return {"commands": {stage.name: _stage_facts(stage) for stage in known}, "code": git_state(project.root)}


def _stage_facts(stage: LockedStage) -> Facts:
    return {"command": stage.command, "outputs": dict(stage.outputs)}


def _run_of(project: Project) -> Facts:
    from cea.lineage.tracking import runs_of_weights

    for stage in project.instances("train"):
        for path in stage.outputs:
            file = project.root / path / "best.safetensors"
            if file.is_file():
                runs = runs_of_weights(_file_sha256(file))
                again = {"make the run again": f"cea reproduce {runs[0]['id']}"} if runs else {}
                return {"weights": _file_sha256(file), "runs": runs, **again}
    return {}


def _file_sha256(path: Path) -> str:
    from cea.io.images import file_sha256

    return file_sha256(path)
