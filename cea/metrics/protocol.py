"""Evaluation protocols as data: everything that must be equal before two PSNRs may stand in one column."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cea.errors import ConfigError
from cea.levels import as_unit, to_uint8
from cea.metrics.inputs import check_pair
from cea.metrics.psnr import psnr
from cea.metrics.ssim import SsimWindow, ssim
from cea.types import Image, ImageF, ImageU8, Map


@dataclass(frozen=True)
class Protocol:
    """One way to judge, applied to every image by itself; tables then take the mean over images.

    Attributes:
        name: printed beside every number.
        colour: ``rgb``, or ``y``: BT.601 luma in studio range, not rounded.
        crop_multiple: input and target are centre-cropped to a multiple of this, in pixels, *before* restoration.
        eight_bit: the prediction is rounded to 8 bits, as by methods that are judged on the PNGs they wrote.
        window: SSIM variant.
        noise: how noisy inputs are made from clean ones: ``truncate`` to uint8 as the published tables do (input PSNR
            20.4 dB at sigma 25, against 20.2 dB unclipped), or ``round``.
        about: what it is and whose.
    """

    name: str
    colour: Literal["rgb", "y"]
    crop_multiple: int
    eight_bit: bool
    window: SsimWindow
    noise: Literal["truncate", "round"]
    about: str


@dataclass(frozen=True)
class Score:
    """PSNR in dB (``inf`` for equal images) and SSIM of one image."""

    psnr: float
    ssim: float


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("cea", "rgb", 1, False, "uniform", "round", "this project's default: whole images, no rounding"),
        Protocol(
            "promptir", "rgb", 16, False, "uniform", "truncate", "AIO-3 and AIO-5 tables of AirNet, PromptIR, AdaIR"
        ),
        Protocol("moceir", "rgb", 16, False, "gaussian-sample", "truncate", "AIO-3 and AIO-5 tables of MoCE-IR"),
        Protocol("moceir-cdd11", "rgb", 1, False, "gaussian-sample", "truncate", "MoCE-IR on CDD-11: whole images"),
        Protocol("onerestore", "rgb", 1, True, "uniform", "round", "CDD-11 as OneRestore: 8-bit files, whole images"),
        Protocol("derain-y", "y", 1, True, "gaussian", "round", "deraining papers: luma of 8-bit files"),
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol called ``name``.

    Raises:
        ConfigError: naming the known ones.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = difflib.get_close_matches(name, PROTOCOLS, n=1, cutoff=0)[0]
    raise ConfigError(
        f"unknown protocol {name!r}", expected=f"one of {', '.join(PROTOCOLS)}", remedy=f"did you mean {near!r}?"
    )


def centre_crop(image: Image, multiple: int) -> Image:
    """The central part of ``image`` (H, W, ...) whose sides are multiples of ``multiple``.

    An odd remainder loses the extra pixel at the bottom and right.

    Raises:
        ConfigError: a side is shorter than ``multiple``.
    """
    height, width = (side - side % multiple for side in image.shape[:2])
    if not height or not width:
        raise ConfigError(
            f"an image of {image.shape[1]}x{image.shape[0]} pixels (width x height)",
            expected=f"sides of at least {multiple}, to which this protocol crops",
            remedy="use larger images or the protocol 'cea'",
        )
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def luma(image: Image) -> Map:
    """BT.601 luma in studio range, Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255 for R, G, B in [0, 1]; (H, W)."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return np.asarray(as_unit(image) @ weights + 16 / 255)


def noisy(clean: ImageU8, sigma_255: float, noise: Literal["truncate", "round"], rng: np.random.Generator) -> ImageU8:
    """``clean`` plus white Gaussian noise of standard deviation ``sigma_255`` (in grey levels), clipped, as uint8."""
    values = np.clip(clean + sigma_255 * rng.standard_normal(clean.shape), 0, 255)
    return (values if noise == "truncate" else np.rint(values)).astype(np.uint8)


def score(protocol: Protocol, prediction: Image | ImageF, target: Image) -> Score:
    """Judge one image; both are already cropped (``centre_crop`` comes before restoration).

    Args:
        protocol: how.
        prediction: (H, W, 3), uint8 or float; floats are clipped to [0, 1].
        target: (H, W, 3), uint8, uint16 or float.

    Raises:
        ImageError: shapes differ, the image is smaller than the SSIM window, or samples are not finite.
    """
    check_pair(prediction, target)
    predicted, wanted = judged(protocol, prediction), target if protocol.colour == "rgb" else luma(target)
    return Score(psnr(predicted, wanted), ssim(predicted, wanted, protocol.window))


def judged(protocol: Protocol, prediction: Image | ImageF) -> Image | Map:
    """``prediction`` as the protocol sees it: clipped, rounded to 8 bits where it says so, in its colour space."""
    if np.issubdtype(prediction.dtype, np.floating):
        prediction = np.clip(prediction, 0, 1)
    if protocol.eight_bit:
        prediction = to_uint8(prediction)
    return prediction if protocol.colour == "rgb" else luma(prediction)
