"""``index.json`` beside a folder's tars: what they are, how many bytes each has, one digest of all pixels.

Also where tars are read from: `LOCAL` takes them where their index lies; `cea.data.remote` fetches them there first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import polars as pl

from cea.errors import DataError, brief
from cea.io.images import file_sha256, write_bytes
from cea.io.limits import largest_pixels
from cea.io.tables import read_parts

Kind = Literal["pixels", "records", "tiles"]
"""What the tars of a folder hold: rendered samples, the records that render them, or the clean tiles for these."""

FORMAT = 1
"""Of tars with pixels. The other two, which came later and state the digest of each tar as well, are 2."""

REMEDY = "make the shards again (dvc repro), or pass the folder of one recipe and split"

_TAR = re.compile(r"[^/\\\0]+\.tar")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST_FILE_NAME = 255
"""In bytes, as file systems have it."""


class DamagedError(DataError):
    """A tar that cannot be had whole from where it is fetched. ``tar`` is where it would lie."""

    tar: Path | None = None


class Place(Protocol):
    """Where tars are read from."""

    def check(self, tar: Path, size: int) -> None:
        """Refuse (DataError) a tar that is known to be missing or of another size in bytes than its index says."""

    def opened(self, tar: Path) -> AbstractContextManager[int]:
        """A file descriptor of the tar, for reading at any offset, while the block lasts; DataError without one."""


class Local:
    """Tars lie beside their index."""

    def check(self, tar: Path, size: int) -> None:
        """See `Place`."""
        found = tar.stat().st_size if tar.is_file() else None
        if found != size:
            raise DataError(
                f"{tar}: {'missing' if found is None else f'{found} bytes'}", expected=f"{size} bytes", remedy=REMEDY
            )

    @contextmanager
    def opened(self, tar: Path) -> Iterator[int]:
        """See `Place`."""
        try:
            handle = os.open(tar, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{tar}: {error.strerror}", expected="the tar its index names", remedy=REMEDY) from None
        try:
            yield handle
        finally:
            os.close(handle)


LOCAL = Local()


def kind_of(summary: Mapping[str, Any]) -> Kind:
    """What the tars hold."""
    kind: Kind = summary.get("holds", "pixels")
    return kind


def write_summary(folder: Path, digests: Sequence[str], kind: Kind = "pixels") -> None:
    """Write ``index.json`` of the tars in ``folder``, by the index that lies there.

    Args:
        folder: with tars and ``index.parquet``.
        digests: columns of the index with digests of pixels.
        kind: what the tars hold.
    """
    counts = Counter[str]()
    for part in _column(folder, "tar"):
        counts.update(part)
    facts = {name: {"samples": count, **_file_facts(folder / name, kind)} for name, count in counts.items()}
    summary = {
        "format": FORMAT if kind == "pixels" else FORMAT + 1,
        **({} if kind == "pixels" else {"holds": kind}),
        "samples": counts.total(),
        "bytes": sum(each["bytes"] for each in facts.values()),
        "pixels_sha256": _digest_of(folder, digests),
        "tars": facts,
    }
    write_bytes(folder / "index.json", (json.dumps(summary, indent=1) + "\n").encode())


def read_summary(folder: Path, place: Place = LOCAL) -> dict[str, Any]:
    """The summary of ``folder``, after asking ``place`` for each tar that it names.

    Raises:
        DataError: missing, damaged or not ours; a tar that is missing or of another size.
    """
    path = folder / "index.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        _check(summary)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", expected="the shards' summary", remedy=REMEDY) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f" ({brief(error)})" if isinstance(error, (OSError, ValueError)) else ""
        expected = f"format {FORMAT} or {FORMAT + 1}"
        raise DataError(f"{path}: not a summary of shards{why}", expected=expected, remedy=REMEDY) from None
    for name, facts in summary["tars"].items():
        place.check(folder / name, facts["bytes"])
    return dict(summary)


def sane(parts: Iterable[str], tars: Mapping[str, Mapping[str, int]], bands: pl.Expr) -> pl.Expr:
    """Whether all ``parts`` of an entry lie within its tar, and its picture has a size that a picture may have.

    Args:
        parts: prefixes of the columns with their offsets and sizes.
        tars: as the summary has them.
        bands: of the picture with the most pixels.
    """
    size = pl.col("tar").replace_strict({name: facts["bytes"] for name, facts in tars.items()}, default=-1)
    # Nothing here may leave 64 bits, or a hostile number comes out as a small one.
    within = [
        pl.col(f"{part}_offset").ge(0) & pl.col(f"{part}_size").ge(0) & pl.col(f"{part}_offset").le(size)
        & pl.col(f"{part}_size").le(size - pl.col(f"{part}_offset"))
        for part in parts
    ]  # fmt: skip
    pixels = pl.col("height").cast(pl.Float64) * pl.col("width") * bands
    return pl.all_horizontal(
        *within, pl.col("height").ge(1), pl.col("width").ge(1), pixels.le(largest_pixels()), pl.all().is_not_null()
    )


def check_listed(
    folder: Path,
    schema: Mapping[str, Any],
    summary: Mapping[str, Any],
    *,
    key: str,
    sound: pl.Expr,
    digests: Sequence[str],
) -> None:
    """Refuse an index that is not of these tars, or that would have bytes read or memory taken that no entry needs.

    Args:
        folder: of the index.
        schema: its columns.
        summary: of the same folder.
        key: the column that names an entry.
        sound: `sane`.
        digests: columns with digests of pixels.
    """
    listed = {name: facts["samples"] for name, facts in summary["tars"].items() if facts["samples"]}
    counts, are_sound, names = Counter[str](), True, []
    for part in read_parts(folder / "index.parquet", schema, remedy=REMEDY):
        are_sound = are_sound and part.select(sound.all()).item()
        counts.update(part["tar"])
        names.append(part[key].hash())
    if not are_sound:
        fault = "places outside the tars, or sizes that no picture has"
    elif _stands_twice(folder, key, names):
        fault = f"one {key.removesuffix('_id')} twice"
    elif counts != listed:
        fault = "other tars than the summary"
    elif _digest_of(folder, digests) != summary["pixels_sha256"]:
        fault = "other pixels than the summary"
    else:
        return
    raise DataError(f"{folder / 'index.parquet'}: {fault}", expected="the index that index.json sums up", remedy=REMEDY)


def _stands_twice(folder: Path, key: str, hashes: Sequence[pl.Series]) -> bool:
    """Whether a name stands twice; by 8 bytes of each, and by the names themselves where two of these are the same."""
    if not hashes or pl.concat(hashes).n_unique() == sum(map(len, hashes)):
        return False
    names = pl.concat(_column(folder, key))
    return names.n_unique() != len(names)


def _digest_of(folder: Path, columns: Sequence[str]) -> str:
    """One SHA-256 over columns of hex digests, one column after the other."""
    digest = hashlib.sha256()
    for name in columns:
        for part in _column(folder, name):
            digest.update("".join(part).encode())
    return digest.hexdigest()


def _column(folder: Path, name: str) -> Iterator[pl.Series]:
    """A column of texts of the index, in parts."""
    return (part[name] for part in read_parts(folder / "index.parquet", {name: pl.String}, remedy=REMEDY))


def _file_facts(path: Path, kind: Kind) -> dict[str, Any]:
    size = {"bytes": path.stat().st_size}
    return size if kind == "pixels" else size | {"sha256": file_sha256(path)}


def _check(summary: Any) -> None:
    """ValueError, KeyError or TypeError for what `write_summary` would not have written."""
    kind = kind_of(summary)
    if kind not in get_args(Kind) or summary["format"] != (FORMAT if kind == "pixels" else FORMAT + 1):
        raise ValueError(f"format {str(summary['format'])[:20]!r}")
    for name, facts in summary["tars"].items():
        if not _TAR.fullmatch(name) or name.startswith("..") or len(name.encode()) > _LONGEST_FILE_NAME:
            raise ValueError(f"a tar called {name[:100]!r}")
        if not all(type(facts[key]) is int and 0 <= facts[key] < 1 << 63 for key in ("samples", "bytes")):
            raise ValueError(f"no size of {name!r}")
        if kind != "pixels" and not _SHA256.fullmatch(facts["sha256"]):
            raise ValueError(f"no digest of {name!r}")
    if not isinstance(summary["pixels_sha256"], str):
        raise ValueError("no digest of the pixels")
