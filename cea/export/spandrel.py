"""Our networks in spandrel, which chaiNNer and many nodes of ComfyUI load models with.

::

    import cea.export.spandrel

    cea.export.spandrel.register()
    model = spandrel.ModelLoader().load_from_file("model.safetensors")

spandrel hands on tensors without their file's metadata, and some numbers of a configuration leave no trace in them. So
``cea export spandrel`` writes the configuration as one more tensor, and the weights of the package are known by sight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from cea.config import parse
from cea.errors import ConfigError, DataError
from cea.inference import DEFAULT_TILE, WHOLE_PIXELS, restore
from cea.io.images import write_bytes
from cea.models.checkpoint import load_weights
from cea.models.config import ModelConfig
from cea.models.network import RestorationNetwork
from cea.weights.default import default_weights

ID = "CEA"
"""Of our architecture in spandrel's registry."""

CONFIG_KEY = "cea_config"
"""The tensor that holds the configuration: JSON as uint8."""

_OURS = ("backbone.stem.weight", "backbone.head.weight", "backbone.middle.blocks.0.scale_spatial")


def write(network: RestorationNetwork, path: Path) -> None:
    """A .safetensors file that spandrel loads after `register`, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    text = network.config.model_dump_json().encode()
    write_bytes(path, save({**tensors, CONFIG_KEY: torch.frombuffer(bytearray(text), dtype=torch.uint8)}))


def register(registry: Any = None) -> bool:
    """Make our networks known to spandrel.

    They become an ``ImageModelDescriptor``: purpose ``Restoration``, scale 1, RGB, any size (the network pads by
    itself), ``ModelTiling.INTERNAL``: images above 2.1 megapixels are restored in tiles of 512 that share the whole
    image's context, so they are to be passed whole.

    Args:
        registry: an ``ArchRegistry``; None for spandrel's main one, which all loaders use.

    Returns:
        Whether it was unknown before.

    Raises:
        ConfigError: spandrel is not installed.
    """
    spandrel = _spandrel()

    class Cea(spandrel.Architecture):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__(id=ID, detect=detect)

        def load(self, state_dict: Mapping[str, Any]) -> Any:
            tensors = dict(state_dict)
            config = config_of(tensors)
            tensors.pop(CONFIG_KEY, None)
            return spandrel.ImageModelDescriptor(
                RestorationNetwork(config).eval(),
                tensors,
                architecture=self,
                purpose="Restoration",
                tags=[config.adapter, f"{config.width}w"],
                supports_half=False,
                supports_bfloat16=True,
                scale=1,
                input_channels=3,
                output_channels=3,
                tiling=spandrel.ModelTiling.INTERNAL,
                call_fn=restored,
            )

    registry = spandrel.MAIN_REGISTRY if registry is None else registry
    return bool(registry.add(spandrel.ArchSupport.from_architecture(Cea()), ignore_duplicates=True))


def detect(tensors: Mapping[str, Any]) -> bool:
    """Whether tensors are those of one of our networks."""
    return CONFIG_KEY in tensors or all(name in tensors for name in _OURS)


def config_of(tensors: Mapping[str, Tensor]) -> ModelConfig:
    """The configuration of the network that ``tensors`` belong to.

    Raises:
        DataError: they do not tell it, or name code of their own, which nothing imports here.
    """
    if CONFIG_KEY not in tensors:
        own, config = _packaged()
        if own.keys() == tensors.keys() and all(torch.equal(own[name], tensors[name].cpu()) for name in own):
            return config
        raise DataError(
            "these weights of CEA do not tell their configuration, of which spandrel sees nothing",
            expected="the weights of the package, or a file for spandrel",
            remedy="write one: cea export spandrel --weights FILE -o FOLDER",
        )
    values = json.loads(bytes(tensors[CONFIG_KEY].cpu().numpy()))
    named = [str(values.get(key)) for key in ("adapter", "block") if ":" in str(values.get(key))]
    if named:
        raise DataError(
            f"these weights run code of their own, {', '.join(named)}",
            expected="an adapter and a block of this package",
            remedy="use cea restore --trust-code, if you know where they come from",
        )
    return parse(ModelConfig, values, CONFIG_KEY)


def restored(network: RestorationNetwork, image: Tensor) -> Tensor:
    """(1, 3, H, W) to the same shape and dtype; large images in tiles with the context of the whole."""
    if image.shape[0] != 1 or image.shape[-2] * image.shape[-1] <= WHOLE_PIXELS:
        return network(image)
    pixels = image[0].permute(1, 2, 0).float().clamp(0, 1).cpu().numpy()
    made = restore(network, np.ascontiguousarray(pixels), tile=DEFAULT_TILE)
    return torch.from_numpy(made).permute(2, 0, 1)[None].to(image.device, image.dtype)


@cache
def _packaged() -> tuple[dict[str, Tensor], ModelConfig]:
    network, _ = load_weights(default_weights())
    return network.state_dict(), network.config


def _spandrel() -> Any:
    try:
        import spandrel
    except ImportError as error:
        raise ConfigError(
            f"the architecture for spandrel needs {error.name or 'spandrel'}, which is not installed",
            expected="spandrel, and torchvision of the same build as torch",
            remedy="run: pip install spandrel",
        ) from error
    return spandrel
