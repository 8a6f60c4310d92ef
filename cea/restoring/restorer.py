"""Restoring in three lines: ``Restorer.load().restore(image)``.

::

    from cea import Restorer

    restorer = Restorer.load()
    restored = restorer.restore(image)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cea.errors import ConfigError, ImageError
from cea.inference import Estimates
from cea.io.images import read_photo
from cea.io.photo import Photo
from cea.io.writer import write_photo
from cea.models.checkpoint import load_weights
from cea.restoring import formats
from cea.restoring.photographs import restore_photo
from cea.restoring.sources import weights_file
from cea.types import Map

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

    Picture = TypeVar("Picture", NDArray[Any], Tensor, PilImage)

Step = Callable[[int, int], None]
"""Called with what is done and how much there is to do, at the start and after each part."""


class Restorer:
    """A restoration network with its weights, on a device, ready for photographs.

    `load` makes one. An untrained or own ``network`` may be given directly.

    Args:
        network: (B, 3, H, W) in [0, 1] to the same shape, for any size (`cea.models.network.RestorationNetwork`).
        name: where the weights came from, for people.
        sha256: of the file of weights; empty where there is none.
        metadata: what was saved with the weights: step, gain ...

    Attributes:
        network, name, sha256, metadata: as given.
    """

    def __init__(
        self, network: nn.Module, *, name: str = "", sha256: str = "", metadata: Mapping[str, Any] | None = None
    ) -> None:
        self.network = network
        self.name, self.sha256, self.metadata = name, sha256, dict(metadata or {})

    @classmethod
    def load(
        cls, source: str | Path | None = None, *, device: str | torch.device = "auto", trust_code: bool = False
    ) -> Restorer:
        """A restorer from weights.

        Args:
            source: None for the weights that come with the package; a ``.safetensors`` file; a folder that holds one
                (a downloaded repository of a model hub); or the address of a model in MLflow: ``models:/<id>``,
                ``models:/<name>@<alias>``, ``runs:/<run>/restorer`` (needs ``cea[pipeline]``).
            device: ``auto`` (a GPU that PyTorch sees, else the CPU), ``cpu``, ``gpu``, or a device of PyTorch's.
            trust_code: whether weights may import an adapter or block that they name as ``module:Name``.

        Raises:
            DataError: no such weights, or ones that this version cannot load.
            ConfigError: a device that is not there, or MLflow that is not installed.
        """
        place = _device(device)
        with weights_file(source) as (path, name):
            network, metadata = load_weights(path, trust_code=trust_code)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return cls(network.to(place), name=name, sha256=digest, metadata=metadata)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.network.parameters()).device

    def to(self, device: str | torch.device) -> Restorer:
        """Move the network to ``device`` (as in `load`); returns the restorer itself."""
        self.network.to(_device(device))
        return self

    @overload
    def restore(
        self, image: Picture, *, strength: float | Map = 1.0, tile: int | None = None, progress: Step | None = None
    ) -> Picture: ...

    @overload
    def restore(
        self, image: str | Path, *, strength: float | Map = 1.0, tile: int | None = None, progress: Step | None = None
    ) -> NDArray[Any]: ...

    @overload
    def restore(
        self,
        image: Sequence[Any],
        *,
        strength: float | Map = 1.0,
        tile: int | None = None,
        progress: Step | None = None,
    ) -> list[Any]: ...

    def restore(
        self, image: Any, *, strength: float | Map = 1.0, tile: int | None = None, progress: Step | None = None
    ) -> Any:
        """Restore one photograph, or several.

        What goes in comes out: the same kind of object, shape, dtype and device.

        * Arrays: (H, W) grey, (H, W, 3) RGB, (H, W, 4) with alpha, or (N, H, W, 3); uint8, uint16 over its full range,
          or floats in [0, 1].
        * Tensors: (3, H, W) or (N, 3, H, W), or with one channel; uint8, or floats in [0, 1]. No gradient flows.
        * Images of Pillow: L, RGB, LA, RGBA and I;16.
        * Paths: an array of the file's depth, (H, W, 3), or (H, W, 4) where pixels are transparent.
        * A list or tuple of these, of any sizes: a list.

        Grey stays grey, alpha stays, and pixels that are fully transparent keep their colours. The images of a batch
        are restored one after the other, each as if it were alone.

        Args:
            image: as above.
            strength: share of the correction that is kept, in [0, 1]; or a map (H, W) of the image's size.
            tile: side of tiles in pixels, at least 128; 0 for the whole image at once; None for the whole up to
                2.1 megapixels and tiles of 512 above. Memory is that of one tile.
            progress: called as ``progress(done, total)`` with passes of the network, or with images of a batch.

        Raises:
            ImageError: something that is no image, floats outside [0, 1], NaN, or too little memory.
            ConfigError: ``strength`` outside [0, 1], or ``tile`` below 128.
        """
        strength = _checked_strength(strength)
        batch = formats.as_batch(image)
        if batch is None:
            photo = read_photo(Path(image)) if isinstance(image, str | Path) else formats.to_photo(image)
            restored, _ = restore_photo(self.network, photo, strength=strength, tile=tile, step=progress)
            return formats.from_photo(restored, image)
        made = []
        for done, one in enumerate(batch):
            if progress is not None:
                progress(done, len(batch))
            made.append(self.restore(one, strength=strength, tile=tile))
        if progress is not None:
            progress(len(batch), len(batch))
        return formats.stacked(made, image)

    def restore_photo(
        self,
        photo: Photo,
        *,
        strength: float | Map = 1.0,
        tile: int | None = None,
        progress: Step | None = None,
        judged: Callable[[Estimates], None] | None = None,
    ) -> tuple[Photo, list[str]]:
        """A photograph as files hold it, with alpha, EXIF and resolution, and what is to be known about it.

        ``judged`` is called with what the network makes of the photograph: maps of severity, of its expected error.

        Raises:
            ImageError: too little memory, or a map of another size.
            ConfigError: ``strength`` outside [0, 1], or ``tile`` below 128.
        """
        return restore_photo(
            self.network, photo, strength=_checked_strength(strength), tile=tile, step=progress, judged=judged
        )

    def restore_file(
        self,
        source: str | Path,
        target: str | Path,
        *,
        strength: float | Map = 1.0,
        tile: int | None = None,
        quality: int = 95,
        progress: Step | None = None,
    ) -> list[str]:
        """Restore the photograph in ``source`` into ``target``; depth, alpha, EXIF and resolution are kept.

        Args:
            source: a photograph.
            target: ends in .png, .tif, .jpg, .webp or .ppm.
            strength: as in `restore`.
            tile: as in `restore`.
            quality: of JPEG files, 1 to 100.
            progress: as in `restore`.

        Returns:
            What is to be known: how the file was read, in which way it is unlike what weights are trained for, and
            what the target's format could not hold; a sentence each.

        Raises:
            ImageError: a photograph that cannot be read, a suffix that is not written, or too little memory.
        """
        photo = read_photo(Path(source))
        restored, warnings = self.restore_photo(photo, strength=strength, tile=tile, progress=progress)
        return [*photo.notes, *warnings, *write_photo(Path(target), restored, quality=quality)]

    def __repr__(self) -> str:
        return f"Restorer({self.name or type(self.network).__name__}, sha256 {self.sha256[:12] or '-'}, {self.device})"


def _device(wanted: str | torch.device) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if wanted == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    try:
        place = torch.device("cuda" if wanted == "gpu" else wanted)
    except RuntimeError:
        raise ConfigError(
            f"device {str(wanted)!r}", expected="auto, cpu, gpu, or a device of PyTorch's", remedy="correct device"
        ) from None
    if place.type == "cuda" and not has_gpu:
        raise ConfigError(f"--device {wanted}", expected="a GPU that PyTorch sees", remedy="use --device cpu")
    return place


def _checked_strength(strength: float | Map) -> float | Map:
    values = np.asarray(strength, np.float32)
    if values.ndim not in (0, 2) or not (values.size and values.min() >= 0 and values.max() <= 1):  # NaN fails, too
        said = f"{strength}" if values.ndim == 0 else f"of shape {values.shape}"
        raise (ConfigError if values.ndim == 0 else ImageError)(
            f"strength {said}",
            expected="a number from 0 to 1, or a map (h, w) of such numbers",
            remedy="correct the strength",
        )
    return float(strength) if values.ndim == 0 else values
