"""One restored image against its target: scores, harm, errors by local severity."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.errors import ConfigError, DataError, ImageError, InputError
from cea.evaluation.cases import Case, Pixels
from cea.evaluation.config import EvaluationConfig
from cea.levels import LEVEL, UNIT_OF_LEVEL, as_unit, from_codes
from cea.metrics.inputs import check_pair
from cea.metrics.perceptual import Lpips
from cea.metrics.protocol import Protocol, Score, centre_crop, judged, luma, score
from cea.types import Image, ImageF, Map

PSNR_CAP = 100.0
"""dB. Equal images have infinite PSNR, of which no mean can be taken: tables hold this instead, and summaries count
them. It is above what any 8-bit pair can otherwise reach on fewer than 1.5e5 samples (one grey level in one sample)."""

HARM_DB = 0.01
"""An image counts as made worse where its PSNR fell by more than this: less is rounding."""

HARM_STEP = LEVEL
"""A pixel counts as harmed where its RMS error over the channels grows by more than this: one grey level."""


@dataclass(frozen=True)
class JudgeJob:
    """A case with its pixels, and its output where that was made elsewhere, cropped as the protocol wants them."""

    case: Case
    pixels: Pixels
    output: Image | None = None


@dataclass(frozen=True)
class Row:
    """One judged image: its row of the per-image table, its rows of the bins' table (`cea.evaluation.table`)."""

    image: dict[str, Any]
    bins: list[dict[str, Any]]


def load_job(protocol: Protocol, case: Case) -> JudgeJob:
    """Read a case's pixels, and its output where it brings one, and crop them as the protocol does.

    An output may be of the input's size or already of the cropped size.

    Raises:
        DataError: naming the sample; the images do not fit together or are too small for the protocol.
    """
    try:
        pixels = case.read()
        check_pair(pixels.degraded, pixels.clean)
        degraded, clean = (centre_crop(image, protocol.crop_multiple) for image in (pixels.degraded, pixels.clean))
        bands = pixels.severity
        if bands is not None:
            bands = centre_crop(bands.transpose(1, 2, 0), protocol.crop_multiple).transpose(2, 0, 1)
        output = case.output() if case.output else None
        if output is not None and output.shape == pixels.clean.shape:
            output = centre_crop(output, protocol.crop_multiple)
        return JudgeJob(case, Pixels(degraded, clean, bands), output)
    except (ImageError, ConfigError) as error:
        raise with_sample_name(case, error) from error


def judge(
    job: JudgeJob, output: Image | ImageF, protocol: Protocol, config: EvaluationConfig, lpips: Lpips | None = None
) -> Row:
    """Judge one restored image; LPIPS, where given, sees the prediction as the protocol does, but always in RGB.

    Raises:
        DataError: naming the sample; input, output and target differ in shape, or the output is not finite.
    """
    pixels = job.pixels
    try:
        before, after = (score(protocol, image, pixels.clean) for image in (pixels.degraded, output))
    except ImageError as error:
        raise with_sample_name(job.case, error) from error
    errors = [_squared_error(protocol, image, pixels.clean) for image in (pixels.degraded, output)]
    row = {
        **_identity(job, protocol),
        **_scores(before, after),
        "harmed_pixels": float(np.mean(np.sqrt(errors[1]) > np.sqrt(errors[0]) + HARM_STEP)),
        **(_check(protocol, job, output, (before, after)) if config.check else {}),
        **(_lpips(lpips, protocol, job.pixels, output) if lpips else {}),
    }
    return Row(row, list(_bins(job, errors, config.severity_edges)))


def _identity(job: JudgeJob, protocol: Protocol) -> dict[str, Any]:
    case, severity = job.case, job.pixels.severity
    return {
        "protocol": protocol.name,
        "sample_id": case.sample_id,
        "recipe": case.recipe,
        "clean_id": case.clean_id,
        "n_components": len(case.components),
        "components": list(case.components),
        "uniform": case.uniform,
        "seen": case.seen,
        "height": job.pixels.clean.shape[0],
        "width": job.pixels.clean.shape[1],
        "severity": None if severity is None else [float(band.mean()) / 255 for band in severity],
    }


def _scores(before: Score, after: Score) -> dict[str, float]:
    input_psnr, output_psnr = min(before.psnr, PSNR_CAP), min(after.psnr, PSNR_CAP)
    return {
        "input_psnr": input_psnr,
        "output_psnr": output_psnr,
        "gain_psnr": output_psnr - input_psnr,
        "input_ssim": before.ssim,
        "output_ssim": after.ssim,
        "gain_ssim": after.ssim - before.ssim,
    }


def _lpips(lpips: Lpips, protocol: Protocol, pixels: Pixels, output: Image | ImageF) -> dict[str, float | None]:
    rgb = replace(protocol, colour="rgb")
    distances = [lpips(judged(rgb, image), pixels.clean) for image in (pixels.degraded, output)]
    return {"input_lpips": distances[0], "output_lpips": distances[1]}


def _squared_error(protocol: Protocol, image: Image | ImageF, clean: Image) -> NDArray[np.float32]:
    """(H, W): squared error as the protocol sees it, mean over channels, full scale 1."""
    target: Image | Map = clean if protocol.colour == "rgb" else luma(clean)
    # Single precision is enough for maps, and four times as fast as the scores' double.
    difference = _single(judged(protocol, image)) - _single(target)
    squared = difference * difference
    if squared.ndim == 2:
        return squared
    return np.asarray(cv2.transform(squared, np.full((1, squared.shape[2]), 1 / squared.shape[2])))


def _single(image: Image | ImageF | Map) -> NDArray[np.float32]:
    if image.dtype == np.uint8:
        return from_codes(image)
    return as_unit(image).astype(np.float32) if image.dtype.kind == "u" else image.astype(np.float32)


def _bins(job: JudgeJob, errors: Sequence[NDArray[np.float32]], edges: Sequence[float]) -> Iterator[dict[str, Any]]:
    """Errors by local severity: that of the strongest component at each pixel."""
    if job.pixels.severity is None or not len(job.pixels.severity):
        return
    local = job.pixels.severity.max(axis=0)
    # Bin of each of the 256 grey levels; the last bin holds its upper edge, levels outside all bins get -1.
    bin_of = np.searchsorted(edges, UNIT_OF_LEVEL, side="right") - 1
    bin_of[edges[-1] == UNIT_OF_LEVEL] = len(edges) - 2
    bin_of[edges[-1] < UNIT_OF_LEVEL] = -1
    which = bin_of[local]
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = which == number
        count = int(inside.sum())
        if count:
            means = [float(error[inside].mean(dtype=np.float64)) for error in errors]
            yield {
                "sample_id": job.case.sample_id,
                "recipe": job.case.recipe,
                "low": low,
                "high": high,
                "pixels": count,
                "input_mse": means[0],
                "output_mse": means[1],
            }


def _check(protocol: Protocol, job: JudgeJob, output: Image | ImageF, scores: Sequence[Score]) -> dict[str, float]:
    """The largest difference between ``scores`` and scikit-image's, for the input and the output."""
    from cea.evaluation.reference import reference_score

    references = [reference_score(protocol, image, job.pixels.clean) for image in (job.pixels.degraded, output)]
    pairs = list(zip(scores, references, strict=True))
    return {
        "check_psnr": max(abs(min(a.psnr, PSNR_CAP) - min(b.psnr, PSNR_CAP)) for a, b in pairs),
        "check_ssim": max(abs(a.ssim - b.ssim) for a, b in pairs),
    }


def with_sample_name(case: Case, error: InputError) -> DataError:
    """``error`` with the sample's name in front."""
    return DataError(f"{case.sample_id}: {error.what}", expected=error.expected, remedy=error.remedy)
