"""A folder as a model hub holds it: ``config.json``, ``model.safetensors`` and a card. Needs ``cea[hub]``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download

from cea.config import parse
from cea.errors import DataError
from cea.models.checkpoint import load_weights, save_weights
from cea.models.config import ModelConfig
from cea.models.network import RestorationNetwork
from cea.weights.default import default_card, default_weights

WEIGHTS = "model.safetensors"
"""The file that hubs and `cea.restoring.restorer.Restorer.load` look for."""

_USE = """
## Use

```python
from cea import Restorer

restored = Restorer.load("FOLDER OF THESE FILES").restore("photo.jpg")
```

or `cea restore photo.jpg -o restored.png --weights FOLDER`. The file holds its configuration; `config.json` repeats it.
"""


class HubNetwork(
    RestorationNetwork,
    PyTorchModelHubMixin,
    library_name="cea",
    pipeline_tag="image-to-image",
    tags=["image-restoration", "all-in-one", "denoising", "dehazing", "deraining", "low-light"],
    coders={ModelConfig: (lambda config: config.model_dump(mode="json"), lambda values: values)},
):
    """The network with ``from_pretrained``, ``save_pretrained`` and ``push_to_hub``.

    Args:
        config: a `cea.models.config.ModelConfig`, or its keys. (What else were here, the mixin would take for a part of
            the configuration.)

    Attributes:
        metadata: what is saved with the weights: step, gain ...
        card: text of the card without its header; None for a short one.
        license: for the card's header; None leaves it out.
    """

    metadata: Mapping[str, Any] = MappingProxyType({})
    card: str | None = None
    license: str | None = None

    def __init__(self, config: ModelConfig | Mapping[str, Any]) -> None:
        super().__init__(config if isinstance(config, ModelConfig) else parse(ModelConfig, dict(config), "config.json"))

    @classmethod
    def of(cls, network: RestorationNetwork, metadata: Mapping[str, Any], *, sha256: str = "") -> HubNetwork:
        """A copy of ``network``; weights whose digest is that of the package's get the package's card."""
        packaged = sha256 == _digest(default_weights())
        made = cls(network.config)
        made.metadata = dict(metadata)
        made.card, made.license = (default_card(), "apache-2.0") if packaged else (None, None)
        made.load_state_dict(network.state_dict())
        return made.eval()

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card with its header, which hubs search."""
        data = {**vars(type(self)._hub_mixin_info.model_card_data), "license": self.license}
        header = "\n".join(f"{key}: {json.dumps(value)}" for key, value in data.items() if value)  # JSON is YAML
        return ModelCard(f"---\n{header}\n---\n\n{(self.card or self._short_card()).rstrip()}\n{_USE}")

    def _short_card(self) -> str:
        count = sum(parameter.numel() for parameter in self.parameters())
        facts = "".join(
            f"| {key} | {value} |\n" for key, value in self.metadata.items() if not isinstance(value, dict | list)
        )
        table = f"\n| saved with the weights | |\n|---|---|\n{facts}" if facts else ""
        return f"# A restoration network of CEA\n\n{self.config.adapter}, {count:,} parameters.\n{table}"

    def _save_pretrained(self, save_directory: Path) -> None:
        save_weights(save_directory / WEIGHTS, self, self.config, self.metadata)

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, trust_code: bool = False, map_location: str = "cpu", **arguments: Any
    ) -> HubNetwork:
        """Weights from a folder, or from a repository of the hub; read as all weights are (`load_weights`)."""
        if Path(model_id).is_dir():
            path = Path(model_id) / WEIGHTS
        else:
            wanted = ("revision", "cache_dir", "force_download", "token", "local_files_only")
            place: dict[str, Any] = {key: arguments.get(key) for key in wanted}
            path = Path(hf_hub_download(model_id, WEIGHTS, **place))
        network, metadata = load_weights(path, trust_code=trust_code)
        if "config" in arguments and parse(ModelConfig, arguments["config"], "config.json") != network.config:
            raise DataError(
                f"{path.parent}: config.json is not the configuration inside {WEIGHTS}",
                expected="files of one export",
                remedy="export again",
            )
        return cls.of(network, metadata, sha256=_digest(path)).to(map_location)


def _digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(network: RestorationNetwork, metadata: Mapping[str, Any], folder: Path, *, sha256: str = "") -> None:
    """The folder; ``HubNetwork.from_pretrained(folder)`` and ``Restorer.load(folder)`` read it.

    Args:
        network: whose weights to write.
        metadata: saved with them.
        folder: is made.
        sha256: of the file they came from, by which the package's own are known.
    """
    HubNetwork.of(network, metadata, sha256=sha256).save_pretrained(folder)
