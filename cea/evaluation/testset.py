"""Benchmark sets as cases to judge, also with the outputs of somebody else's method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from cea.data.crops import KNOWN, Crop, cropped, likely
from cea.data.judged import JudgedPair, JudgedSet, images_in, printable
from cea.errors import DataError, ImageError
from cea.evaluation.cases import Case, Pixels
from cea.io.images import pixel_sha256, read_rgb
from cea.levels import to_uint8
from cea.metrics.protocol import Protocol, noisy
from cea.rng import generator, stream
from cea.types import ImageU8


def cases_of_sets(sets: Iterable[JudgedSet], protocol: Protocol, crop: Crop = "known") -> list[Case]:
    """One case per pair, its recipe being the set's name; ``crop`` is for targets larger than their inputs.

    Noise for denoising sets is drawn from a stream of its own for each clean image's pixels and each sigma: neither the
    order of the files nor their names nor the other sets matter.
    """
    return [
        Case(
            sample_id=f"{test_set.name}-{pair.name}",
            recipe=test_set.name,
            clean_id=printable(pair.clean.stem),
            components=test_set.components,
            uniform=None,
            read=partial(_read, pair, protocol, crop),
            fingerprint=_fingerprint(pair.degraded, pair.clean),
        )
        for test_set in sets
        for pair in test_set.pairs
    ]


def with_outputs(cases: Sequence[Case], folder: Path) -> list[Case]:
    """The same cases with the images that another method wrote into ``folder``.

    Looked for are ``<set>/<name>.*`` and ``<name>.*``, where ``name`` is the stem of the input's file.

    Raises:
        DataError: an output is missing or there are two; naming the first ones.
    """
    files: dict[str, list[Path]] = {}
    for path in images_in(folder, deep=True) if folder.is_dir() else ():
        files.setdefault(printable(path.relative_to(folder).with_suffix("").as_posix()), []).append(path)
    outputs = [(case, _output(files, case)) for case in cases]
    missing = [case.sample_id for case, path in outputs if path is None]
    if missing:
        raise DataError(
            f"{folder}: no output for {len(missing)} of {len(cases)} images: {', '.join(missing[:5])}",
            expected="<set>/<name of the input>.png for every test image",
            remedy="complete the folder; an average over fewer images would not compare",
        )
    return [
        replace(case, output=partial(read_rgb, path), fingerprint=f"{case.fingerprint}\n{_fingerprint(path)}")
        for case, path in outputs
        if path is not None
    ]


def crop_line(test_set: JudgedSet, crop: Crop) -> str | None:
    """What is done to larger targets, by the first pair that can be read; None for nothing."""
    for pair in test_set.pairs:
        if pair.degraded is None:
            return None
        try:
            size, whole = (read_rgb(path).shape[:2] for path in (pair.degraded, pair.clean))
        except ImageError:
            continue
        if size == whole:
            return None
        known = KNOWN.get((whole, size))
        rule = f"as {known} wants it" if crop == "known" else f"--crop {crop}"
        sizes = f"targets of {_by(whole)} are cropped to the {_by(size)} of their inputs"
        return f"  {sizes} ({rule})" if known or crop != "known" else None
    return None


def _fingerprint(*files: Path | None) -> str:
    """Changes with the place, the size or the time of one of the files."""
    facts = ((path.resolve(), path.stat()) for path in files if path is not None)
    return "\n".join(f"{printable(str(path))} {stat.st_size} {stat.st_mtime_ns}" for path, stat in facts)


def _by(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"


def _output(files: dict[str, list[Path]], case: Case) -> Path | None:
    name = case.sample_id.removeprefix(f"{case.recipe}-")
    paths = files.get(f"{case.recipe}/{name}") or files.get(name) or []
    if len(paths) > 1:
        raise DataError(
            f"outputs {paths[0]} and {paths[1]} for one image", expected="one file", remedy="remove one of them"
        )
    return paths[0] if paths else None


def _read(pair: JudgedPair, protocol: Protocol, crop: Crop) -> Pixels:
    clean = to_uint8(read_rgb(pair.clean))
    degraded = to_uint8(read_rgb(pair.degraded)) if pair.degraded else _noisy(pair, clean, protocol)
    if degraded.shape == clean.shape:
        return Pixels(degraded, clean)
    part = cropped(clean, degraded.shape[:2], crop)
    if part is not None:
        return Pixels(degraded, np.ascontiguousarray(part))
    raise DataError(
        f"{pair.degraded} is {_by(degraded.shape)}, {pair.clean} is {_by(clean.shape)} pixels",
        expected="input and target of one size",
        remedy=_remedy(degraded, clean, crop),
    )


def _remedy(degraded: ImageU8, clean: ImageU8, crop: Crop) -> str:
    if degraded.shape[:2] == clean.shape[1::-1]:
        return "turn one of them: its EXIF orientation, or its want of one, lays it on its side"
    other = likely(clean, degraded)
    if other is not None and other != crop:
        return f"say where the target was cropped: --crop {other}, by the looks of it"
    if all(wanted > given for wanted, given in zip(clean.shape[:2], degraded.shape[:2], strict=True)):
        return "say where the target was cropped (--crop center or --crop top-left), or crop it yourself"
    return "crop them as the set's authors say; a metric never resizes"


def _noisy(pair: JudgedPair, clean: ImageU8, protocol: Protocol) -> ImageU8:
    assert pair.sigma_255 is not None
    rng = generator(stream("benchmark noise", pixel_sha256(clean), pair.sigma_255))
    return noisy(clean, pair.sigma_255, protocol.noise, rng)
