"""Benchmark sets as cases to judge, also with the outputs of somebody else's method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from cea.data.judged import JudgedPair, JudgedSet, images_in, printable
from cea.errors import DataError
from cea.evaluation.cases import Case, Pixels
from cea.io.images import pixel_sha256, read_rgb
from cea.levels import to_uint8
from cea.metrics.protocol import Protocol, noisy
from cea.rng import generator, stream
from cea.types import ImageU8


def cases_of_sets(sets: Iterable[JudgedSet], protocol: Protocol) -> list[Case]:
    """One case per pair, its recipe being the set's name.

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
            read=partial(_read, pair, protocol),
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
    return [replace(case, output=partial(read_rgb, path)) for case, path in outputs if path is not None]


def _output(files: dict[str, list[Path]], case: Case) -> Path | None:
    name = case.sample_id.removeprefix(f"{case.recipe}-")
    paths = files.get(f"{case.recipe}/{name}") or files.get(name) or []
    if len(paths) > 1:
        raise DataError(
            f"outputs {paths[0]} and {paths[1]} for one image", expected="one file", remedy="remove one of them"
        )
    return paths[0] if paths else None


def _read(pair: JudgedPair, protocol: Protocol) -> Pixels:
    clean = to_uint8(read_rgb(pair.clean))
    degraded = to_uint8(read_rgb(pair.degraded)) if pair.degraded else _noisy(pair, clean, protocol)
    if degraded.shape != clean.shape:
        turned = degraded.shape[:2] == clean.shape[1::-1]
        raise DataError(
            f"{pair.degraded} is {degraded.shape[1]}x{degraded.shape[0]}, {pair.clean} is "
            f"{clean.shape[1]}x{clean.shape[0]} pixels",
            expected="input and target of one size",
            remedy="turn one of them: its EXIF orientation, or its want of one, lays it on its side"
            if turned
            else "crop them as the set's authors say; a metric never resizes",
        )
    return Pixels(degraded, clean)


def _noisy(pair: JudgedPair, clean: ImageU8, protocol: Protocol) -> ImageU8:
    assert pair.sigma_255 is not None
    rng = generator(stream("benchmark noise", pixel_sha256(clean), pair.sigma_255))
    return noisy(clean, pair.sigma_255, protocol.noise, rng)
