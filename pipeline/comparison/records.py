"""Finished runs of a comparison as small files that git keeps, so that machines lent for hours add up to a long grid.

A record holds what decides a run's weights (`key_of`), where it was made, its curve of the validation gain and what
came out for each test image. A later comparison takes the run from there where all that decides is still the same.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from cea.config import load
from cea.data.dataset import read_split
from cea.errors import DataError
from cea.evaluation.columns import IMAGES
from cea.io.images import write_bytes
from cea.lineage.code import closure, listing
from cea.models.config import ModelSection
from cea.models.measure.matching import resolve
from cea.training.config import NO_EFFECT, TrainConfig
from pipeline.code import components

SAMPLE = ("sample_id", "clean_id", "recipe", "n_components", "uniform", "seen", "input_psnr")
"""What every run says alike of a test image: one table for all of them."""

SCORES = {"output_psnr": 3, "output_ssim": 4}
"""What a record holds of each test image, and its decimals."""


def data_digest(dataset: Path = Path("data/dataset"), shards: Path = Path("data/shards")) -> str:
    """Of the pixels of all splits, by the indices of their shards (which hold the hash of every sample)."""
    lines = [
        f"{split}/{folder.name} {hashlib.sha256((folder / 'index.parquet').read_bytes()).hexdigest()}\n"
        for split in ("train", "val", "test")
        for folder in sorted(read_split(dataset / f"{split}.json").folders(shards / split))
    ]
    return _digest("".join(lines))


def key_of(params: Mapping[str, Any], data: str) -> dict[str, Any]:
    """What decides the weights: the network as built, the training, its seed, the code that stage ``train`` runs, data.

    Args:
        params: all of params.yaml, with the run's changes.
        data: from `data_digest`.
    """
    train = load(TrainConfig, params, "train")
    code = listing(closure(["pipeline.train"], Path(), components(params)), Path())
    return {
        "model": resolve(load(ModelSection, params, "model")).model_dump(mode="json"),
        "train": train.model_dump(mode="json", exclude=NO_EFFECT),
        "seed": params["seed"] if train.seed is None else train.seed,
        "code": _digest(code),
        "data": data,
    }


def record_of(facts: Mapping[str, Any], key: Mapping[str, Any], curve: pl.DataFrame) -> dict[str, Any]:
    """A record without test images.

    Args:
        facts: ``variant``, ``seed``, ``training``, ``lineage``, and whatever else is to be told of the run.
        key: from `key_of`.
        curve: ``step`` and ``gain_psnr`` (dB) on the validation images.
    """
    points = [[step, round(gain, 4)] for step, gain in curve.select("step", "gain_psnr").iter_rows()]
    return {**facts, "key": dict(key), "val_gain_psnr": points}


def write(folder: Path, name: str, record: Mapping[str, Any], images: pl.DataFrame | None = None) -> Path:
    """Write ``folder/name.json``; with the per-image table also what all runs say alike, ``folder/samples-*.csv``."""
    record = dict(record)
    if images is not None:
        images = images.sort("sample_id")
        samples = images.select(SAMPLE).write_csv(float_precision=4).encode()
        record["samples"] = f"samples-{hashlib.sha256(samples).hexdigest()[:12]}.csv"
        record["images"] = {name: images[name].round(digits).to_list() for name, digits in SCORES.items()}
        if not (folder / record["samples"]).is_file():
            write_bytes(folder / record["samples"], samples)
    file = folder / f"{name}.json"
    write_bytes(file, (json.dumps(record, separators=(",", ":")).replace('],"', '],\n"') + "\n").encode())
    return file


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """The record of that name, or None.

    Raises:
        DataError: a file that is no record.
    """
    file = folder / f"{name}.json"
    try:
        record = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(file, str(error)) from None
    if not isinstance(record, dict) or not {"key", "variant", "seed", "training", "val_gain_psnr"} <= set(record):
        raise _damaged(file, "no record of a run")
    return record


def current(folder: Path, name: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of that name, or None.

    Raises:
        DataError: it was made with another ``key``: other parameters, code or data.
    """
    record = read(folder, name)
    if record is not None and (other := differing(record, key)):
        raise DataError(
            f"{folder / name}.json was made with another {', '.join(other)}",
            expected="runs of one comparison that differ in nothing but what it compares",
            remedy="choose another --name, check out the commit that the record names, or remove the record",
        )
    return record


def images_of(folder: Path, record: Mapping[str, Any]) -> pl.DataFrame:
    """The test images of a record, with the columns that `cea.evaluation.comparison.compare` reads.

    Raises:
        DataError: the table of samples is missing or of another length.
    """
    file = folder / str(record["samples"])
    try:
        samples = pl.read_csv(io.BytesIO(file.read_bytes()), schema_overrides=IMAGES)
        scores = pl.DataFrame(record["images"])
        images = pl.concat([samples, scores], how="horizontal")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _damaged(file, str(error)) from None
    gain = (pl.col("output_psnr") - pl.col("input_psnr")).alias("gain_psnr")
    return images.with_columns(gain, variant=pl.lit(record["variant"]), seed=pl.lit(record["seed"]))


def differing(record: Mapping[str, Any], key: Mapping[str, Any]) -> list[str]:
    """Dotted names of what differs between a record's key and ``key``; empty where the run need not be repeated."""
    known, wanted = _flat(record["key"]), _flat(key)
    return [name for name in sorted(known | wanted) if known.get(name, ...) != wanted.get(name, ...)]


def _flat(key: Mapping[str, Any]) -> dict[str, Any]:
    plain = json.loads(json.dumps(key))
    sections = {name: value for name, value in plain.items() if isinstance(value, dict)}
    single = {name: value for name, value in plain.items() if name not in sections}
    return single | {f"{name}.{inner}": value for name, part in sections.items() for inner, value in part.items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _damaged(file: Path, reason: str) -> DataError:
    return DataError(
        f"{file}: {reason}", expected="a record that a comparison wrote", remedy="restore it from git, or remove it"
    )
