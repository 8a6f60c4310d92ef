"""Whether exported files compute what the network computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cea.decibels import psnr_of
from cea.errors import ConfigError, DataError, brief
from cea.export.programs import SMALLEST, Graph
from cea.export.runner import SMALLEST_TILE, Runner
from cea.models.network import RestorationNetwork

LIMIT = 1e-4
"""The largest difference from PyTorch in single precision, full scale 1."""

SIZES = ((1, SMALLEST, SMALLEST), (1, 8, 12), (2, 16, 5), (1, 25, 38), (3, 2, 32))
"""Batch, and height and width in multiples of the network's."""

MOST_DB = 200.0
"""The PSNR of equal pictures."""

Row = dict[str, Any]
"""One line of a check: what was compared, and the differences."""


def example(batch: int, height: int, width: int) -> Tensor:
    """A blurred random picture with noise of sigma 0.1, (B, 3, H, W) in [0, 1], the same for the same sizes."""
    draw = torch.Generator().manual_seed(batch * 1_000_003 + height * 1009 + width)
    coarse = torch.rand(batch, 3, height // 16 + 2, width // 16 + 2, generator=draw)
    smooth = F.interpolate(coarse, (height, width), mode="bilinear")
    return (smooth + 0.1 * torch.randn(smooth.shape, generator=draw)).clamp(0, 1)


def check_onnx(graphs: Sequence[Graph], folder: Path, *, multiple: int, fp16: bool, threads: int = 0) -> list[Row]:
    """Greatest differences of the ONNX files from PyTorch, for each graph and size; PSNR in dB of half precision.

    Raises:
        DataError: single precision differs by more than ``LIMIT``.
    """
    runners = {"fp32": Runner(folder, threads=threads)} | (
        {"fp16": Runner(folder, fp16=True, threads=threads)} if fp16 else {}
    )

    def compute(runner: Runner) -> Callable[[Graph, Sequence[Tensor]], list[NDArray[Any]]]:
        return lambda graph, inputs: runner.run(graph.name, *(one.numpy() for one in inputs))

    return _compared(graphs, {kind: compute(runner) for kind, runner in runners.items()}, multiple, "ONNX")


def check_torch(graphs: Sequence[Graph], folder: Path, *, multiple: int) -> list[Row]:
    """Likewise for the programs of ``torch.export``, loaded from their files.

    Raises:
        ConfigError: a program takes only some sizes, as its tracing found a difference between them.
        DataError: they differ by more than ``LIMIT``.
    """
    programs = {graph.name: torch.export.load(folder / f"{graph.name}.pt2").module() for graph in graphs}

    def compute(graph: Graph, inputs: Sequence[Tensor]) -> list[NDArray[Any]]:
        try:
            with torch.no_grad():
                return [one.numpy() for one in _as_tuple(programs[graph.name](*inputs))]
        except AssertionError as error:  # a guard, about the size
            raise ConfigError(
                f"torch.export: {graph.name} refuses an image of {inputs[0].shape[3]} x {inputs[0].shape[2]} pixels "
                f"({brief(error)})",
                expected="an adapter whose program takes any size, which film-local has not",
                remedy="leave the format torch out: onnx takes any size",
            ) from error

    return _compared(graphs, {"fp32": compute}, multiple, "torch.export")


def check_tiles(network: RestorationNetwork, folder: Path, *, tile: int = SMALLEST_TILE, threads: int = 0) -> list[Row]:
    """Tiles from ONNX against the whole image in PyTorch, in grey levels of 255: mean and greatest.

    The image, an `example` of two by three tiles and a bit, is measured whole, and as the mean over parts; and, for
    comparison, each tile is restored by itself, as a program does that knows ``whole.onnx`` only.
    """
    image = example(1, 2 * tile + 13, 3 * tile + 10)
    with torch.no_grad():
        whole = network(image)[0].permute(1, 2, 0).clamp(0, 1).numpy()
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    runner = Runner(folder, threads=threads)
    made = {
        "measured whole": runner.restore(pixels, tile=tile, part=0),
        "measured in parts": runner.restore(pixels, tile=tile, part=tile),
        "each tile by itself": alone(runner, pixels, tile),
    }
    differences = {name: 255 * np.abs(restored - whole) for name, restored in made.items()}
    return [
        {"tiles": name, "side": tile, "mean": float(levels.mean()), "greatest": float(levels.max())}
        for name, levels in differences.items()
    ]


def alone(runner: Runner, image: NDArray[Any], tile: int) -> NDArray[Any]:
    """Restore (H, W, 3) in tiles of which none knows of the others."""
    restored = np.empty_like(image)
    for top in range(0, image.shape[0], tile):
        for left in range(0, image.shape[1], tile):
            place = (slice(top, top + tile), slice(left, left + tile))
            restored[place] = runner.restore(image[place], tile=0)
    return restored


_Compute = Callable[[Graph, Sequence[Tensor]], list[NDArray[Any]]]


def _compared(graphs: Sequence[Graph], kinds: dict[str, _Compute], multiple: int, what: str) -> list[Row]:
    rows: list[Row] = []
    for graph in graphs:
        for batch, height, width in SIZES:
            size = (batch, height * multiple, width * multiple)
            image = example(*size)
            with torch.no_grad():
                inputs = (image, *_measured(graphs, image)) if graph.name == "tile" else (image,)
                expected = [one.numpy() for one in _as_tuple(graph.module(*inputs))]
            row: Row = {"graph": graph.name, "size": "x".join(map(str, size))}
            for kind, compute in kinds.items():
                errors = [one - other for one, other in zip(compute(graph, inputs), expected, strict=True)]
                row[kind] = _greatest(errors)
                if kind == "fp16" and graph.outputs == ("restored",):
                    row["fp16_psnr"] = min(psnr_of(float(np.square(errors[0], dtype=np.float64).mean())), MOST_DB)
            rows.append(row)
            if not row["fp32"] <= LIMIT:  # NaN, too
                raise DataError(
                    f"{what}: {graph.name} at {row['size']} differs from PyTorch by {row['fp32']:.1e}",
                    expected=f"at most {LIMIT:g}",
                    remedy="report it with the configuration of the weights",
                )
    return rows


def _measured(graphs: Sequence[Graph], image: Tensor) -> tuple[Tensor, ...]:
    measure = next(graph.module for graph in graphs if graph.name == "measure")
    return _as_tuple(measure(image))


def _as_tuple(outputs: Tensor | Iterable[Tensor]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _greatest(errors: Sequence[NDArray[Any]]) -> float:
    return max(float(np.abs(error).max()) for error in errors)
