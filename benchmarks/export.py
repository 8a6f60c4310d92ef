"""The network outside PyTorch: ONNX and ``torch.export`` with dynamic sizes, checked; a hub folder.

    python -m benchmarks.export write OUT          # whole, measure and tile as ONNX (fp32, fp16), a .pt2, a hub folder
    python -m benchmarks.export check OUT          # each against PyTorch at five sizes; tiles against the whole

Needs ``pip install 'cea[onnx,hub]'``. Sizes are multiples of 8 inside the graphs: images are padded outside, by
repeating the edge, because a padding that depends on the size would fix the size.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from cea import Restorer
from cea.data.sources.bundled import Bundled, BundledConfig
from cea.inference import spans
from cea.models.checkpoint import save_weights
from cea.models.global_context import recorded, reused
from cea.models.network import RestorationNetwork

OPSET = 18
SIZES = ((1, 8, 8), (1, 64, 96), (2, 128, 40), (1, 200, 304), (3, 16, 256))
"""(batch, height, width)."""


class Measure(nn.Module):
    """(B, 3, H, W) to what the network measures over the whole image, a tensor per module."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The statistics, in the order of the network's modules."""
        with recorded(self.network) as measured:
            self.network(image)
        return tuple(measured.values())


class Tile(nn.Module):
    """A tile (B, 3, h, w) and the statistics of its image to the restored tile."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, list(names)

    def forward(self, image: Tensor, *measured: Tensor) -> Tensor:
        """The same shape as ``image``."""
        with reused(self.network, dict(zip(self.names, measured, strict=True))):
            restored: Tensor = self.network(image)
        return restored


def programs(network: RestorationNetwork) -> dict[str, ExportedProgram]:
    """``whole``, ``measure`` and ``tile``; batch, height and width are free, the last two in steps of 8."""
    image = torch.rand(2, 3, 64, 72)  # a batch of one would be taken for a constant
    with torch.no_grad(), recorded(network) as measured:
        network(image)
    assert all(isinstance(value, Tensor) for value in measured.values()), "an adapter that measures maps"
    batch, multiple = Dim("batch"), network.size_multiple
    free = {0: batch, 2: Dim("rows", min=1, max=4096) * multiple, 3: Dim("columns", min=1, max=4096) * multiple}
    values, each = tuple(measured.values()), tuple({0: batch} for _ in measured)
    made = {
        "whole": export(network, (image,), dynamic_shapes=(free,)),
        "measure": export(Measure(network).eval(), (image,), dynamic_shapes=(free,)),
        "tile": export(Tile(network, list(measured)).eval(), (image, *values), dynamic_shapes=(free, each)),
    }
    # attention of three dimensions has no counterpart in ONNX; its parts have
    return {name: program.run_decompositions() for name, program in made.items()}


def write(network: RestorationNetwork, out: Path) -> None:
    """All files; fp16 graphs take and give fp32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    out.mkdir(parents=True, exist_ok=True)
    for name, program in programs(network).items():
        torch.export.save(program, out / f"{name}.pt2")
        made = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False)
        assert made is not None
        made.save(str(out / f"{name}.onnx"), external_data=False)
        half = convert_float_to_float16(onnx.load(out / f"{name}.onnx"), keep_io_types=True)
        onnx.save(half, out / f"{name}.fp16.onnx")
        print(f"{name}: {(out / f'{name}.onnx').stat().st_size / 1e6:.2f} MB, opset {OPSET}", flush=True)


def write_hub_folder(restorer: Restorer, folder: Path) -> None:
    """``config.json``, ``model.safetensors`` and a card, as a model hub holds them; ``Restorer.load(folder)`` reads it.

    The folder is written by the mixin of huggingface_hub, whose ``push_to_hub`` would upload it.
    """
    from huggingface_hub import PyTorchModelHubMixin

    import cea.weights.default as packaged

    network = restorer.network
    assert isinstance(network, RestorationNetwork)

    class Hub(
        PyTorchModelHubMixin,
        library_name="cea",
        license="apache-2.0",
        pipeline_tag="image-to-image",
        tags=["image-restoration", "all-in-one"],
    ):
        def _save_pretrained(self, save_directory: Path) -> None:
            save_weights(save_directory / "model.safetensors", network, network.config, restorer.metadata)

    card = Path(str(packaged.__file__)).with_name("MODEL_CARD.md").read_text(encoding="utf-8")
    Hub().save_pretrained(folder, config=network.config.model_dump(mode="json"))
    header = (folder / "README.md").read_text(encoding="utf-8").split("---")[1]
    (folder / "README.md").write_text(f"---{header}---\n\n{card}", encoding="utf-8")


def session(path: Path, threads: int = 2) -> Any:
    """ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(graph: Any, image: np.ndarray, measured: Sequence[np.ndarray] = ()) -> list[np.ndarray]:
    """One pass; ``image`` is (B, 3, H, W) float32."""
    names = [one.name for one in graph.get_inputs()]
    return list(graph.run(None, dict(zip(names, (image, *measured), strict=True))))


def padded(image: np.ndarray, multiple: int) -> np.ndarray:
    """(B, 3, H, W) with its edge repeated up to multiples of ``multiple``."""
    missing = [(0, -size % multiple) for size in image.shape[-2:]]
    return np.pad(image, [(0, 0), (0, 0), *missing], mode="edge")


def in_tiles(graphs: Mapping[str, Any], image: np.ndarray, tile: int, multiple: int, *, every: int = 0) -> np.ndarray:
    """Restore (1, 3, H, W) in tiles with the context of the whole image, by NumPy and two graphs.

    Args:
        graphs: ``measure`` and ``tile``.
        image: any size.
        tile: side of the tiles, a multiple of ``multiple``.
        multiple: what the graphs' sizes are multiples of.
        every: measure on every n-th pixel of every n-th row; 0: as few as make at most four tiles.
    """
    height, width = image.shape[-2:]
    step = every or max(1, ceil(sqrt(height * width / (4 * tile**2))))
    measured = run(graphs["measure"], padded(image[..., ::step, ::step], multiple))
    whole = padded(image, multiple)
    out = np.zeros_like(whole)
    for down in spans(whole.shape[-2], tile, multiple):
        for across in spans(whole.shape[-1], tile, multiple):
            place = (..., slice(down.start, down.stop), slice(across.start, across.stop))
            (restored,) = run(graphs["tile"], whole[place], measured)
            out[place] += down.weight[:, None] * across.weight * restored
    return out[..., :height, :width].clip(0, 1)


def check(network: RestorationNetwork, out: Path) -> list[dict[str, Any]]:
    """Greatest differences from PyTorch, for each graph, precision and size."""
    reference = {"whole": network, "measure": Measure(network)}
    rows = []
    for name in ("whole", "measure", "tile"):
        program = torch.export.load(out / f"{name}.pt2").module()
        graphs = {kind: session(out / f"{name}{kind}.onnx") for kind in ("", ".fp16")}
        for size in SIZES:
            image = torch.rand(size[0], 3, *size[1:], generator=torch.Generator().manual_seed(sum(size)))
            with torch.no_grad():
                inputs = (image, *Measure(network)(image)) if name == "tile" else (image,)
                expected = network(image) if name == "tile" else reference[name](image)
                exported = program(*inputs)
            expected, exported = ((one,) if isinstance(one, Tensor) else one for one in (expected, exported))
            row: dict[str, Any] = {"graph": name, "size": "x".join(map(str, size))}
            row["pt2"] = max(float((a - b).abs().max()) for a, b in zip(exported, expected, strict=True))
            for kind, graph in graphs.items():
                got = run(graph, image.numpy(), [one.numpy() for one in inputs[1:]])
                pairs = zip(got, expected, strict=True)
                row[f"onnx{kind}"] = max(float(np.abs(a - b.numpy()).max()) for a, b in pairs)
            rows.append(row)
            print("  ".join(f"{k} {v:.1e}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    return rows


def check_tiles(network: RestorationNetwork, out: Path, tile: int = 256) -> list[dict[str, Any]]:
    """Tiles against the whole image, on a degraded photograph."""
    from cea.degradations import degrade

    clean = next(iter(Bundled(BundledConfig(names=["china"])).items())).load().rgb
    hazy = degrade(clean, "cdd11/low_haze", seed=3).image
    image = np.ascontiguousarray(hazy.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    graphs = {name: session(out / f"{name}.onnx") for name in ("whole", "measure", "tile")}
    multiple = network.size_multiple
    whole = run(graphs["whole"], padded(image, multiple))[0][..., : image.shape[2], : image.shape[3]].clip(0, 1)
    rows = []
    for label, every in (("measured on every pixel", 1), ("measured on every second pixel", 2)):
        rows.append(_difference(label, in_tiles(graphs, image, tile, multiple, every=every), whole))
    alone = np.zeros_like(whole)
    for top in range(0, image.shape[2], tile):
        for left in range(0, image.shape[3], tile):
            part = image[..., top : top + tile, left : left + tile]
            made = run(graphs["whole"], padded(part, multiple))[0][..., : part.shape[2], : part.shape[3]]
            alone[..., top : top + tile, left : left + tile] = made.clip(0, 1)
    rows.append(_difference("each tile by itself", alone, whole))
    for row in rows:
        print(f"tiles of {tile}, {row['tiles']}: mean {row['mean']:.3f}, greatest {row['greatest']:.2f} levels of 255")
    return rows


def _difference(label: str, tiles: np.ndarray, whole: np.ndarray) -> dict[str, Any]:
    levels = np.abs(tiles - whole) * 255
    return {"tiles": label, "mean": float(levels.mean()), "greatest": float(levels.max())}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["write", "check"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights")
    arguments = parser.parse_args()
    restorer = Restorer.load(arguments.weights, device="cpu")
    network = restorer.network
    assert isinstance(network, RestorationNetwork)
    if arguments.task == "write":
        write(network, arguments.out)
        write_hub_folder(restorer, arguments.out / "hub")
    else:
        rows = check(network, arguments.out) + check_tiles(network, arguments.out)
        (arguments.out / "check.json").write_text(json.dumps(rows, indent=1))
        worst = max(row["onnx"] for row in rows if "onnx" in row)
        print(f"greatest difference in fp32: {worst:.1e} (limit 1e-4)")
        raise SystemExit(worst > 1e-4)


if __name__ == "__main__":
    main()
