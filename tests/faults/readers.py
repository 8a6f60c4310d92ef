"""Every reader of foreign bytes on damaged input: what was written, another valid value, or one clear error.

``python -m tests.faults.readers 100000`` counts; ``make test`` runs a few hundred of each.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from cea.config import load, read_params
from cea.data.dataset import check_split, list_split, read_split, write_split
from cea.data.reading import read_sample
from cea.data.records import COLUMNS, SynthesizeConfig, record_parts, to_record
from cea.data.shards import read_index
from cea.data.verification import verify
from cea.degradations.engine.draw import draw
from cea.degradations.engine.recipes import RecipeConfig, read_recipes
from cea.degradations.engine.render import render
from cea.errors import InputError
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.journal import Journal
from cea.evaluation.judge import Row
from cea.io.arrays import read_map
from cea.io.tables import write_table
from cea.models.checkpoint import load_weights, read_metadata, save_weights
from cea.models.config import ModelConfig, ModelSection
from cea.models.network import build
from cea.rng import SampleKey
from cea.training.config import TrainConfig
from tests.field.mutations import INTACT, mutated, silence
from tests.field.mutations import verdict as picture_verdict
from tests.field.pictures import tiff
from tests.toy_shards import write_toy_shards

SECONDS = 5.0
"""A reader that takes longer hangs for whoever waits for it; a machine under load takes a multiple of what it needs."""

CROP = (1, 2, 22, 20)

CLEAN = np.random.default_rng(1).integers(0, 256, (24, 24, 3), np.uint8)

ENDED = "ended the process"

PARAMS = """seed: 2026
synthesize: {tile: 64, nonuniform_share: 0.5, train: {photograph: 2, leaves: 1}}
recipes:
  noise: {order: physical, nodes: {noise: {sigma_255: [15, 50]}}}
  low_haze:
    order: cdd11
    nodes: {low: {gamma: [2, 3], sigma: [0.03, 0.08]}, haze: {beta: [1, 2], airlight: [0.6, 0.9]}}
model: {size: tiny, adapter: cea, rank: 8, sites: [encoder, middle]}
train: {max_steps: 30, lr: 1e-3, device: auto, patch: 96}
evaluate: {protocol: cea, testsets: {}, severity_edges: [0.0, 0.5, 1.0]}
"""


Damage: TypeAlias = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True)
class Reader:
    """One reader: intact inputs, and what it makes of bytes.

    Attributes:
        intact: inputs, damaged in turn.
        read: raises an `InputError`, or AssertionError where what came out is not what was written.
        share: of all inputs of a run.
        damage: what becomes of an intact input.
    """

    intact: list[bytes]
    read: Callable[[bytes], None]
    share: float
    damage: Damage = mutated


def readers(folder: Path) -> dict[str, Reader]:
    """All of them by name; their files lie in ``folder``."""
    return {
        "image": Reader([json.dumps(name).encode() for name in INTACT], lambda data: None, 0.3),
        "record": Reader(_records(), _read_record, 0.2, _misstated),
        "records table": _table(folder),
        "params": _params(folder),
        "tar": _shards(folder / "tar", "000000.tar", _other_headers),
        "index": _shards(folder / "index", "index.parquet", _other_places),
        "summary": _shards(folder / "summary", "index.json"),
        "split list": _list(folder),
        "journal": _journal(folder),
        "map": _maps(folder),
        "weights": _weights(folder),
    }


def verdict(name: str, reader: Reader, seed: int) -> str:
    """``read`` or ``refused``; anything else is a fault."""
    rng = np.random.default_rng(seed)
    whole = reader.intact[seed % len(reader.intact)]
    start = time.process_time()
    if name == "image":
        kind = json.loads(whole)
        said = picture_verdict(kind, mutated(INTACT[kind], rng))
        said = {"intact": "read", "as another decoder": "read"}.get(said, said)
    else:
        said = _verdict(reader, reader.damage(whole, rng) if rng.random() < 0.98 else rng.bytes(int(rng.integers(400))))
    seconds = time.process_time() - start
    return said if seconds < SECONDS else f"took {seconds:.0f} s"


def _verdict(reader: Reader, data: bytes) -> str:
    try:
        reader.read(data)
    except InputError as error:
        return "refused" if len(str(error).splitlines()) == 1 else f"several lines: {str(error)[:200]!r}"
    except AssertionError as error:
        return f"other content: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return "read"


def _records() -> list[bytes]:
    """Of every family that draws numbers, evenly and driven by fields of several kinds."""
    driven = {"kind": "fractal", "parameter": "size_px"}
    nodes: tuple[dict[str, Any], ...] = (
        {"noise": {}},
        {"low": {}, "haze": {}, "rain": {}},
        {"motion_blur": {}, "jpeg": {}},
        {"snow": {"field": "blobs"}, "raindrop": {}, "defocus": {"field": "half_plane"}},
        {"varying_blur": {"field": "gradient"}, "vignetting": {}, "glare": {}, "webp": {}},
        {"correlated_noise": {"field": driven}, "poisson_gaussian": {}, "resize": {"field": "radial"}},
    )
    recipes = [RecipeConfig(order="listed", nodes=each) for each in nodes]
    keys = [SampleKey(5, "a" * 64, f"r{number}", 0) for number in range(len(recipes))]
    drawn = [
        draw(key.recipe, recipe, key, clean_id="i", split="train", crop=CROP, nonuniform=True, depth_given=False)
        for key, recipe in zip(keys, recipes, strict=True)
    ]
    return [record.model_dump_json().encode() for record in drawn]


_NUMBER = re.compile(rb"(?<=[:\[,])-?\d+(\.\d+)?([eE][-+]?\d+)?(?=[,\]}])")
_STRANGE = (0, 1, -1, 0.5, 2, -0.0, 1e-9, 1e-300, 5e-324, 100, 1e4, 1e9, -1e9, 1e300, -1e300, 2**31, 2**64, 10**30)
_STRANGE_WORDS = (b"NaN", b"Infinity", b"-Infinity", b"null", b"true", b"[]", b'""')


def _misstated(data: bytes, rng: np.random.Generator) -> bytes:
    """Other numbers in a record that is whole, one to three of them; as often, damaged bytes."""
    if rng.random() < 0.5:
        return mutated(data, rng)
    for _ in range(int(rng.integers(1, 4))):
        found = list(_NUMBER.finditer(data))
        one = found[int(rng.integers(len(found)))]
        near = repr(float(one[0]) * 10 ** float(rng.uniform(-4, 4))).encode()
        others = [repr(value).encode() for value in _STRANGE] + list(_STRANGE_WORDS) + 10 * [near, b"-" + one[0]]
        data = data[: one.start()] + others[int(rng.integers(len(others)))] + data[one.end() :]
    return data


def _read_record(data: bytes) -> None:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return  # no record at all: `read_sample` says so
    if isinstance(fields, dict):
        render(to_record(fields), CLEAN)


def _at(path: Path, read: Callable[[Path], None]) -> Callable[[bytes], None]:
    def of_bytes(data: bytes) -> None:
        path.write_bytes(data)
        read(path)

    return of_bytes


def _table(folder: Path) -> Reader:
    rows = [json.loads(record) for record in _records()]
    rows = [
        {**row, **{name: json.dumps(row[name]) for name in ("scene", "nodes")}, "components": ["x"], "n_components": 1}
        for row in rows
    ]
    write_table(folder / "r.parquet", pl.DataFrame(rows, schema=COLUMNS))

    def read(path: Path) -> None:
        rows = (row for part in record_parts(path) for row in part.iter_rows(named=True))
        for row in islice(rows, 100):
            render(to_record(row), CLEAN)

    return Reader([(folder / "r.parquet").read_bytes()], _at(folder / "r.parquet", read), 0.08)


def _params(folder: Path) -> Reader:
    sections = {
        "synthesize": SynthesizeConfig,
        "model": ModelSection,
        "train": TrainConfig,
        "evaluate": EvaluationConfig,
    }

    def read(path: Path) -> None:
        params = read_params(path)
        read_recipes(params)
        for key, kind in sections.items():
            load(kind, params, key)

    return Reader([PARAMS.encode()], _at(folder / "params.yaml", read), 0.1)


_PLACES = (-(2**63), -512, -1, 0, 1, 2**31 - 1, 2**40, 2**62, 2**63 - 6, 2**63 - 1)


def _other_places(data: bytes, rng: np.random.Generator) -> bytes:
    """An index that is whole, with other numbers in one to three of its columns; as often, damaged bytes."""
    if rng.random() < 0.5:
        return mutated(data, rng)
    table = pl.read_parquet(io.BytesIO(data))
    for name in rng.choice([name for name, kind in table.schema.items() if kind.is_integer()], int(rng.integers(1, 4))):
        number = int(rng.choice(np.array(_PLACES)))
        if table.schema[str(name)] != pl.Int64:
            number = max(-(2**31), min(number, 2**31 - 1))
        chosen = pl.Series(rng.random(len(table)) < 0.7)
        other = pl.lit(number, table.schema[str(name)])
        table = table.with_columns(pl.when(chosen).then(other).otherwise(pl.col(str(name))).alias(str(name)))
    file = io.BytesIO()
    table.write_parquet(file)
    return file.getvalue()


def _other_headers(data: bytes, rng: np.random.Generator) -> bytes:
    """A tar with another kind or size in one of its headers, whose checksum is right; as often, damaged bytes."""
    if rng.random() < 0.5:
        return mutated(data, rng)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        member = rng.choice(np.array(tar.getmembers(), object))
    if rng.random() < 0.7:
        member.type = bytes(rng.choice(np.frombuffer(b"0125xgLKS7", "S1")))
    if rng.random() < 0.8:
        member.size = int(rng.choice(np.array((*_PLACES[1:], 2**33, 2**70), object)))
    header = member.tobuf(tarfile.GNU_FORMAT)
    return data[: member.offset] + header[-tarfile.BLOCKSIZE :] + data[member.offset + tarfile.BLOCKSIZE :]


def _shards(folder: Path, damaged: str, damage: Damage = mutated) -> Reader:
    """Pixels and ids are those that were written, whatever is damaged; labels have their digest in the split's list."""
    write_toy_shards(folder / "toy", samples=2, size=16)
    write_split(folder / "list.json", list_split(folder, {"toy": True}, labels=True))
    listed, whole = read_split(folder / "list.json"), read_index(folder / "toy").select("clean_sha256", "sample_id")

    def read(path: Path) -> None:
        index = read_index(path.parent)
        for row in index.iter_rows(named=True):
            read_sample(path.parent, row)
        verify(path.parent)
        check_split(folder, listed)
        assert index.select("clean_sha256", "sample_id").equals(whole), damaged

    path = folder / "toy" / damaged
    return Reader([path.read_bytes()], _at(path, read), 0.06, damage)


def _list(folder: Path) -> Reader:
    write_toy_shards(folder / "listed" / "toy", samples=2, size=16)
    write_split(folder / "split.json", list_split(folder / "listed", {"toy": True}))
    return Reader(
        [(folder / "split.json").read_bytes()],
        _at(folder / "split.json", lambda path: check_split(folder / "listed", read_split(path))),
        0.04,
    )


def _journal(folder: Path) -> Reader:
    path = folder / "journal.jsonl"
    rows = [Row({"sample_id": f"s{number}", "gain_psnr": 0.1 * number}, [{"bin": 1}]) for number in range(3)]
    for row in rows:
        Journal(path, "key").add(row, "files")

    def read(path: Path) -> None:
        journal = Journal(path, "key")
        assert all(journal.find(row.image["sample_id"], "files") in (row, None) for row in rows)

    return Reader([path.read_bytes()], _at(path, read), 0.04)


def _maps(folder: Path) -> Reader:
    values = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
    intact = []
    for array in (values, values.astype(np.float64)[None], (values * 65535).astype(np.uint16)):
        file = io.BytesIO()
        np.save(file, array)
        intact.append(file.getvalue())
    intact += [tiff(values), tiff(values, compression="zlib")]

    def read(path: Path) -> None:
        found = read_map(path)
        assert found.ndim in (2, 3), found.shape
        assert found.size <= 1 << 20, found.shape

    return Reader(intact, _at(folder / "map.x", read), 0.06)


def _weights(folder: Path) -> Reader:
    config = ModelConfig(width=4, rank=1, sites=("middle",), encoder_blocks=(0,), decoder_blocks=(0,), middle_blocks=1)
    path = folder / "w.safetensors"
    save_weights(path, build(config), config, {"step": 1})

    def read(path: Path) -> None:
        load_weights(path)
        read_metadata(path)

    return Reader([path.read_bytes()], _at(path, read), 0.02)


def count(number: int, seed: int) -> Counter[tuple[str, str]]:
    """(reader, verdict) -> how many of ``number`` inputs; each reader in a process of its own, which may die of one."""
    found: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        shares = {name: reader.share for name, reader in readers(Path(folder)).items()}
    for name, share in shares.items():
        done, wanted = 0, max(1, round(number * share))
        while done < wanted:
            said, status = _in_a_process(name, range(done, wanted), seed)
            found.update((name, each) for each in said)
            done += len(said)
            if status:
                assert status < 0, f"{name}: exit status {status}"
                found[name, f"{ENDED} ({signal.Signals(-status).name})"] += 1
                done += 1
    return found


def _in_a_process(name: str, indices: range, seed: int) -> tuple[list[str], int]:
    """The verdicts on some inputs, up to the one that ended the process; its exit status."""
    options = ["--only", name, "--first", str(indices.start), "--seed", str(seed)]
    command = [sys.executable, "-m", "tests.faults.readers", str(indices.stop), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.splitlines(), done.returncode


def say_verdicts(name: str, indices: range, seed: int) -> None:
    """A line for each input, at once: what was said before the process ends is not lost."""
    with tempfile.TemporaryDirectory() as folder, silence():
        reader = readers(Path(folder))[name]
        for index in indices:
            sys.stdout.write(f"{verdict(name, reader, seed * 10**9 + index)}\n")
            sys.stdout.flush()


def faults(found: Counter[tuple[str, str]]) -> set[tuple[str, str]]:
    """What should not be among the verdicts."""
    return {(name, said) for name, said in found if said not in ("read", "refused")}


def main() -> None:
    """Print a table, and exit with 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int, nargs="?", default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one reader: a line for each input")
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    if options.only:
        return say_verdicts(options.only, range(options.first, options.number), options.seed)
    start, found = time.perf_counter(), count(options.number, options.seed)
    for name in dict.fromkeys(name for name, _ in found):
        line = "  ".join(f"{said} {many}" for (kind, said), many in sorted(found.items()) if kind == name)
        sys.stdout.write(f"{name:14} {line}\n")
    sys.stdout.write(f"{sum(found.values())} inputs, seed {options.seed}, {time.perf_counter() - start:.0f} s\n")
    return sys.exit(bool(faults(found)))


if __name__ == "__main__":
    main()
