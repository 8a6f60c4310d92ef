"""A folder of exported files, checked before it appears."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from cea import __version__
from cea.errors import ConfigError, DataError
from cea.export import checks, onnx_files, programs
from cea.extras import require
from cea.io.folders import atomic_folder
from cea.io.outputs import check_place
from cea.models.network import RestorationNetwork
from cea.restoring.restorer import Restorer

Format = Literal["onnx", "torch", "hub", "spandrel"]

FORMATS: tuple[Format, ...] = get_args(Format)

FACTS = "export.json"
"""What was exported, and how far it is from PyTorch; by this file a folder is known as an export."""

_NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "hub": ("huggingface_hub",)}


@dataclass(frozen=True)
class ExportOptions:
    """What is written.

    Attributes:
        formats: each gets a folder of its name.
        fp16: ONNX in half precision, too.
        opset: version of ONNX's operators.
        check: compare what was written with PyTorch.
        overwrite: replace an earlier export.
    """

    formats: Sequence[Format] = ("onnx",)
    fp16: bool = False
    opset: int = onnx_files.OPSET
    check: bool = True
    overwrite: bool = False


def prepare(out: Path, options: ExportOptions) -> None:
    """All that can be refused before weights are loaded.

    Raises:
        ConfigError: no or unknown formats, an opset that is not written, or a library that is missing.
        DataError: the place is taken, or cannot be written.
    """
    unknown = [name for name in options.formats if name not in FORMATS]
    if unknown or not options.formats:
        raise ConfigError(
            f"format {', '.join(unknown) or '(none)'}",
            expected=f"one or more of {', '.join(FORMATS)}",
            remedy="correct the format",
        )
    if options.fp16 and "onnx" not in options.formats:
        raise ConfigError("--fp16 without onnx", expected="the format onnx", remedy="add onnx, or leave --fp16 out")
    oldest, newest = onnx_files.OPSETS
    if not oldest <= options.opset <= newest:
        raise ConfigError(f"--opset {options.opset}", expected=f"{oldest} to {newest}", remedy="correct the option")
    for name in options.formats:
        for library in _NEEDED.get(name, ()):
            require(library, f"cea export {name}")
    check_place(out, is_folder=True)
    _check_taken(out, options.overwrite)


def export_to(
    restorer: Restorer, out: Path, options: ExportOptions, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Write the folder ``out``, whole or not at all.

    Args:
        restorer: whose weights to export; on the CPU.
        out: is made; see `ExportOptions`.
        options: what is written.
        say: told what is being done, a line each.

    Returns:
        What ``export.json`` holds: weights, opset, files, and the differences from PyTorch.

    Raises:
        ConfigError, DataError: as in `prepare`; or a network that cannot be exported, or differs once it is.
    """
    prepare(out, options)
    network = restorer.network
    if not isinstance(network, RestorationNetwork):
        raise ConfigError(
            f"a network of type {type(network).__name__}", expected="a RestorationNetwork", remedy="load weights of CEA"
        )
    with atomic_folder(out) as folder:
        facts = _write(network, restorer, folder, options, say)
        (folder / FACTS).write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return facts


def _check_taken(out: Path, overwrite: bool) -> None:
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / FACTS).is_file():
        raise DataError(f"{out} holds other files", expected="an empty or a new folder", remedy="change --out")
    if not overwrite:
        raise DataError(f"{out} holds an export", expected="a new folder", remedy="change --out, or add --overwrite")


def _write(
    network: RestorationNetwork, restorer: Restorer, folder: Path, options: ExportOptions, say: Callable[[str], None]
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "cea": __version__,
        "weights": {"name": restorer.name, "sha256": restorer.sha256},
        "size_multiple": network.size_multiple,
    }
    if {"onnx", "torch"} & set(options.formats):
        facts |= _write_graphs(network, restorer.sha256, folder, options, say)
    if "hub" in options.formats:
        from cea.export import hub

        hub.write(network, restorer.metadata, folder / "hub", sha256=restorer.sha256)
    if "spandrel" in options.formats:
        from cea.export import spandrel

        spandrel.write(network, folder / "spandrel" / "model.safetensors")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return facts | {"files": {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}}


def _write_graphs(
    network: RestorationNetwork, sha256: str, folder: Path, options: ExportOptions, say: Callable[[str], None]
) -> dict[str, Any]:
    say("tracing the network, about a minute on an idle core")
    graphs = []
    for graph in programs.graphs(network):
        say(f"  {graph.name}: traced")
        graphs.append(graph)
    if len(graphs) == 1:
        say("  only whole: this adapter needs a tile's place in the image, which a graph does not know")
    facts: dict[str, Any] = {"graphs": [graph.name for graph in graphs]}
    if "torch" in options.formats:
        (folder / "torch").mkdir()
        for graph in graphs:
            torch.export.save(graph.program, folder / "torch" / f"{graph.name}.pt2")
        if options.check:
            facts["torch"] = checks.check_torch(graphs, folder / "torch", multiple=network.size_multiple)
            say(f"  torch.export: at most {_worst(facts['torch'], 'fp32'):.1e} from PyTorch")
    if "onnx" in options.formats:
        facts |= _write_onnx(network, sha256, graphs, folder / "onnx", options, say)
    return facts


def _write_onnx(
    network: RestorationNetwork,
    sha256: str,
    graphs: Sequence[programs.Graph],
    folder: Path,
    options: ExportOptions,
    say: Callable[[str], None],
) -> dict[str, Any]:
    said = {"cea": __version__, "weights_sha256": sha256, "size_multiple": str(network.size_multiple)}
    say(f"writing ONNX, opset {options.opset}")
    onnx_files.write(graphs, folder, opset=options.opset, fp16=options.fp16, facts=said)
    facts: dict[str, Any] = {"opset": options.opset}
    if not options.check:
        return facts
    rows = checks.check_onnx(graphs, folder, multiple=network.size_multiple, fp16=options.fp16)
    say(
        f"  fp32: at most {_worst(rows, 'fp32'):.1e} from PyTorch at {len(checks.SIZES)} sizes (limit {checks.LIMIT:g})"
    )
    if options.fp16:
        least = min(row["fp16_psnr"] for row in rows if "fp16_psnr" in row)
        say(f"  fp16: {least:.1f} dB or more, at most {_worst(rows, 'fp16'):.1e} from PyTorch")
    facts["onnx"] = rows
    if len(graphs) > 1:
        facts["tiles"] = checks.check_tiles(network, folder)
        for row in facts["tiles"]:
            say(
                f"  tiles of {row['side']} against the whole, {row['tiles']}: "
                f"mean {row['mean']:.3f}, greatest {row['greatest']:.2f} levels of 255"
            )
    return facts


def _worst(rows: Sequence[checks.Row], kind: str) -> float:
    return max(row[kind] for row in rows)
