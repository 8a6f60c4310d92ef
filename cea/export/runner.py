"""Restore photographs with exported ONNX graphs, without PyTorch: NumPy and ONNX Runtime, and Pillow for files.

    python run.py photo.jpg restored.png --tile 512

This file stands alone: ``cea export onnx`` writes a copy, ``run.py``, beside the graphs. From Python::

    from run import Runner

    restored = Runner("exported/onnx").restore(image)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OVERLAP = 64
"""Pixels that neighbouring tiles share: a quarter on each side is discarded, the half between is blended linearly."""

SMALLEST_TILE = 2 * OVERLAP

PART = 1448
"""Images of up to the square of this many pixels, 2.1 megapixels, are measured whole by default."""


class Runner:
    """Exported graphs, ready for photographs.

    Args:
        folder: with ``whole.onnx``, ``measure.onnx`` and ``tile.onnx``.
        fp16: take the graphs of half precision, ``*.fp16.onnx``.
        threads: of the CPU; 0 leaves the number to ONNX Runtime.
        providers: of ONNX Runtime, e.g. ``["CUDAExecutionProvider", "CPUExecutionProvider"]``.

    Attributes:
        multiple: height and width inside the graphs are multiples of this, and at least twice as much.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        fp16: bool = False,
        threads: int = 0,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        self._threads, self._providers = threads, list(providers)
        self._files = {name: Path(folder) / f"{name}{'.fp16' * fp16}.onnx" for name in ("whole", "measure", "tile")}
        self._sessions: dict[str, Any] = {}
        self.multiple = int(self.session("whole").get_modelmeta().custom_metadata_map["size_multiple"])

    def session(self, name: str) -> Any:
        """The graph ``whole``, ``measure`` or ``tile`` in ONNX Runtime, loaded when it is first wanted."""
        if name not in self._sessions:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.log_severity_level = 3
            self._sessions[name] = onnxruntime.InferenceSession(
                str(self._files[name]), options, providers=self._providers
            )
        return self._sessions[name]

    def run(self, name: str, image: NDArray[np.float32], *measured: NDArray[Any]) -> list[NDArray[Any]]:
        """One pass of a graph; ``image`` is (B, 3, H, W) in [0, 1], its sizes multiples of ``multiple``."""
        session = self.session(name)
        names = [one.name for one in session.get_inputs()]
        return list(session.run(None, dict(zip(names, (image, *measured), strict=True))))

    def restore(self, image: NDArray[Any], *, tile: int = 512, part: int = PART) -> NDArray[Any]:
        """Restore one photograph.

        Args:
            image: (H, W, 3) RGB; uint8, uint16 over its full range, or floats in [0, 1].
            tile: side of tiles in pixels, at least 128; 0, or an image that is no larger, for the whole at once.
            part: with tiles, an image of more than ``part`` x ``part`` pixels is measured as the mean over parts of
                this side, which is near the whole and takes the memory of a part. 0: always the whole, which is exact.

        Returns:
            The same shape and dtype.

        Raises:
            ValueError: another shape or dtype, or a tile that is too small.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"an image of shape {image.shape}; expected (H, W, 3)")
        if tile and tile < SMALLEST_TILE:
            raise ValueError(f"tile = {tile}; expected 0, or at least {SMALLEST_TILE}")
        height, width = image.shape[:2]
        pixels = _as_input(image)
        if tile and max(height, width) > tile:
            restored = self._in_tiles(pixels, ceil(tile / self.multiple) * self.multiple, part)
        else:
            (restored,) = self.run("whole", self._padded(pixels))
        return _as_image(restored[..., :height, :width], image.dtype)

    def _in_tiles(self, pixels: NDArray[np.float32], tile: int, part: int) -> NDArray[np.float32]:
        measured = self._measured(pixels, part)
        pixels = self._padded(pixels)
        restored, total = np.zeros_like(pixels), np.zeros(pixels.shape[-2:], np.float32)
        for rows, down in _spans(pixels.shape[-2], tile, self.multiple):
            for columns, across in _spans(pixels.shape[-1], tile, self.multiple):
                (made,) = self.run("tile", pixels[..., rows, columns], *measured)
                weight = np.minimum.outer(down, across)
                restored[..., rows, columns] += weight * made
                total[rows, columns] += weight
        return restored / total

    def _measured(self, pixels: NDArray[np.float32], part: int) -> list[NDArray[Any]]:
        height, width = pixels.shape[-2:]
        if not part or height * width <= part**2:
            return self.run("measure", self._padded(pixels))
        tops, lefts = (
            np.linspace(0, max(0, length - part), ceil(length / part)).astype(int) // self.multiple * self.multiple
            for length in (height, width)
        )
        parts = [pixels[..., top : top + part, left : left + part] for top in tops for left in lefts]
        measured = [self.run("measure", self._padded(one)) for one in parts]
        return [np.mean(values, axis=0) for values in zip(*measured, strict=True)]

    def _padded(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The edge repeated until height and width are multiples that the graphs take."""
        missing = [max(-size % self.multiple, 2 * self.multiple - size) for size in pixels.shape[-2:]]
        return np.pad(pixels, [(0, 0), (0, 0), *((0, count) for count in missing)], mode="edge")


def _spans(length: int, tile: int, multiple: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Places of tiles along an axis, which start at multiples of ``multiple``, and how much each pixel counts there."""
    tile = min(tile, length)
    stride = max(multiple, (tile - OVERLAP) // multiple * multiple)
    for start in sorted({*range(0, length - tile, stride), length - tile}):
        centres = np.arange(tile) + 0.5
        before = centres if start else np.full(tile, np.inf)
        after = tile - centres if start + tile < length else np.full(tile, np.inf)
        ramp = (np.minimum(before, after) - OVERLAP / 4) / (OVERLAP / 2)
        yield slice(start, start + tile), np.clip(ramp, 1e-6, 1).astype(np.float32)


def _as_input(image: NDArray[Any]) -> NDArray[np.float32]:
    """(H, W, 3) to (1, 3, H, W) float32 in [0, 1]."""
    if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != "f":
        raise ValueError(f"an image of dtype {image.dtype}; expected uint8, uint16 or floats in [0, 1]")
    full = 1 if image.dtype.kind == "f" else np.iinfo(image.dtype).max
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(full)


def _as_image(restored: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """(1, 3, H, W), clipped, to (H, W, 3) of ``dtype``."""
    unit = restored[0].transpose(1, 2, 0).clip(0, 1)
    return unit.astype(dtype) if dtype.kind == "f" else np.rint(unit * np.iinfo(dtype).max).astype(dtype)


def main() -> None:
    """The command line."""
    from PIL import Image, ImageOps

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tile", type=int, default=512, help="side of tiles in pixels; 0: the whole image")
    parser.add_argument("--fp16", action="store_true", help="compute in half precision")
    arguments = parser.parse_args()
    with Image.open(arguments.photo) as opened:
        image = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    restored = Runner(Path(__file__).parent, fp16=arguments.fp16).restore(image, tile=arguments.tile)
    Image.fromarray(restored).save(arguments.out)


if __name__ == "__main__":
    main()
