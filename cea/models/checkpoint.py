"""Weights on disk: safetensors with the configuration inside, so that a file alone rebuilds its network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from cea.config import parse
from cea.errors import ConfigError, DataError, brief, foreign
from cea.io.images import write_bytes
from cea.models.config import ModelConfig
from cea.models.network import RestorationNetwork, build

FORMAT = "cea-weights-2"
_LONGEST_HEADER = 1 << 24
"""Bytes; the largest network here needs a hundredth of it."""
_REMEDY = "train again, or pass a .safetensors file that `train` wrote"


def save_weights(path: Path, model: RestorationNetwork, config: ModelConfig, metadata: Mapping[str, Any]) -> None:
    """Write the weights, whole or not at all.

    Args:
        path: ends in ``.safetensors``.
        model: whose weights to write.
        config: what ``model`` was built from.
        metadata: anything JSON can hold: step, gain, commit ...
    """
    write_bytes(path, weights_as_bytes(model, config, metadata))


def weights_as_bytes(model: RestorationNetwork, config: ModelConfig, metadata: Mapping[str, Any]) -> bytes:
    """The file that `save_weights` writes."""
    tensors = {name: _stored(tensor) for name, tensor in model.state_dict().items()}
    header = {
        "format": FORMAT,
        "model": config.model_dump_json(),
        "metadata": json.dumps(dict(metadata), sort_keys=True),
    }
    return _canonical(save(tensors, metadata=header))


def _stored(tensor: Tensor) -> Tensor:
    """As the file holds it: on the CPU, and in single precision where it was trained in double."""
    return (tensor.float() if tensor.dtype == torch.float64 else tensor).detach().cpu().contiguous()


def load_weights(path: Path, *, trust_code: bool = False) -> tuple[RestorationNetwork, dict[str, Any]]:
    """The network in evaluation mode, on the CPU, and the metadata it was saved with.

    Args:
        path: a file that ``save_weights`` wrote.
        trust_code: whether an adapter or block that the file names as ``module:Name`` may be imported, which runs that
            module's code; for weights of one's own.

    Raises:
        DataError: no such file, not safetensors, not written by ``save_weights``, weights that do not fit the
            configuration inside, code that is not trusted, or contents that are not those of the digest inside (files
            of older versions have none).
    """
    header, tensors = _read(path)
    if header.get("format") != FORMAT:
        raise DataError(
            f"{path}: safetensors, but of format {header.get('format')!r}", expected=repr(FORMAT), remedy=_REMEDY
        )
    try:
        values = json.loads(header["model"])
        if not trust_code:
            _check_code(path, values)
        config = parse(ModelConfig, values, "model")
        metadata = dict(json.loads(header["metadata"]))
        _check_tensors(config, tensors)
        model = build(config)
        model.load_state_dict(tensors)
    except DataError:
        raise
    except Exception as error:  # a configuration of somebody else's fails in any way
        reason = error.what if isinstance(error, ConfigError) else brief(error)
        raise DataError(
            f"{path}: does not fit this version's network ({reason})",
            expected="weights and a configuration that belong together",
            remedy=_REMEDY,
        ) from error
    return model.eval(), metadata


def _check_tensors(config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors of another network, and numbers that are none, before memory is taken for the network.

    Raises:
        ValueError: naming the first tensor.
    """
    with torch.device("meta"):  # shapes without memory
        wanted = RestorationNetwork(config).state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        found, due = tensors.get(name), wanted.get(name)
        if found is None or due is None or (found.shape, found.dtype) != (due.shape, due.dtype):
            raise ValueError(f"{name}: {_kind(found)}, and {_kind(due)} by the configuration")
        if found.is_floating_point() and not torch.isfinite(found).all():
            raise ValueError(f"{name}: NaN or infinite")


def _kind(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"{tensor.dtype} of shape {tuple(tensor.shape)}"


def _check_code(path: Path, config: Mapping[str, Any]) -> None:
    named = [str(name) for name in (config.get("adapter"), config.get("block")) if ":" in str(name)]
    if named:
        raise DataError(
            f"{path}: these weights run code of their own, {', '.join(named)}",
            expected="an adapter and a block of this package, or code that is trusted",
            remedy="trust them if you know where they come from: --trust-code, or load_weights(path, trust_code=True)",
        )


def read_metadata(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The network's configuration and the metadata of a file of weights, without its tensors.

    Raises:
        DataError: no such file, or not one that ``save_weights`` wrote.
    """
    header = _read_header(path)
    try:
        return dict(json.loads(header["model"])), dict(json.loads(header["metadata"]))
    except (KeyError, ValueError, TypeError, RecursionError):
        raise DataError(
            f"{path}: safetensors without a configuration of ours", expected=repr(FORMAT), remedy=_REMEDY
        ) from None


def _canonical(data: bytes) -> bytes:
    """The same file with its metadata in order, which safetensors writes in another order each time, and its digest."""
    header, tensors = _split(data)
    header["__metadata__"]["sha256"] = _digest(header, tensors)
    text = _spelled(header)
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    return len(text).to_bytes(8, "little") + text + tensors


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensors of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _spelled(header: dict[str, Any]) -> bytes:
    metadata = dict(sorted(header["__metadata__"].items()))
    return json.dumps(header | {"__metadata__": metadata}, separators=(",", ":"), ensure_ascii=False).encode()


def _digest(header: dict[str, Any], tensors: bytes) -> str:
    """Of all that a file says but the digest itself."""
    said = {name: value for name, value in header["__metadata__"].items() if name != "sha256"}
    return sha256(_spelled(header | {"__metadata__": said}) + tensors).hexdigest()


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with _opened(path) as opened:
        header = opened.metadata() or {}
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    if "sha256" in header and header["sha256"] != _digest(*_split(path.read_bytes())):
        raise DataError(
            f"{path}: damaged, its contents are not those of its digest",
            expected="the file that `train` wrote",
            remedy="copy or download it again; in a project of DVC's: dvc checkout --force",
        )
    return header, tensors


def _read_header(path: Path) -> dict[str, str]:
    with _opened(path) as opened:
        return opened.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.exists():
        raise DataError(f"{path}: no such file", expected="trained weights", remedy=_REMEDY)
    with foreign(f"{path}: not a complete safetensors file", expected="trained weights", remedy=_REMEDY):
        _check_header(path)
        with safe_open(path, framework="pt") as opened:
            yield opened


def _check_header(path: Path) -> None:
    """Refuse a header that is longer than the file, or than any network's, before it is read.

    What it says of the tensors is checked by safetensors: places that overlap, leave holes or end outside.

    Raises:
        ValueError: its length.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        most = min(_LONGEST_HEADER, path.stat().st_size - 8)
    if length > most:
        raise ValueError(f"a header of {length} bytes, and at most {max(most, 0)} can be")
