"""How fast exported networks are, and how far from PyTorch on a photograph.

    python -m benchmarks.export latency            # eager, compiled, torch.export, ONNX Runtime, as ratios to eager
    python -m benchmarks.export photograph FOLDER  # of `cea export onnx --fp16 -o FOLDER`: half precision, and tiles

Latency: the default weights and a network of size ``tiny`` at the sizes given, one image. All take turns in one
process, so that a busy machine is busy for all; the least time of each counts, and the median over rounds of its ratio
to eager in the same round stands beside it. Needs ``pip install 'cea[pipeline,onnx]'``.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cea import Restorer
from cea.data.sources.bundled import Bundled, BundledConfig
from cea.decibels import psnr_of
from cea.degradations import degrade
from cea.export import onnx_files
from cea.export.checks import alone, example
from cea.export.programs import graphs
from cea.export.runner import Runner
from cea.models.config import ModelConfig
from cea.models.measure.stopwatch import TimedJob, forward_job, in_turns, ratio
from cea.models.network import RestorationNetwork, build

TILE = 256
"""Side of the tiles of the photograph, 640 x 427 px."""


def networks() -> dict[str, RestorationNetwork]:
    """The network of the package, and an untrained one of the size that the pipeline trains."""
    default = Restorer.load(device="cpu").network
    assert isinstance(default, RestorationNetwork)
    return {"default": default, "tiny": build(ModelConfig(size="tiny")).eval()}


def latency(plan: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds and ratios of each network, way and size, as the command line has them."""
    torch.set_num_threads(plan.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, network in ((name, made) for name, made in networks().items() if name in plan.networks):
            known = plan.exported if name == "default" else None
            runs = ways(network, known or export_whole(network, Path(folder) / name), plan.threads)
            for side in plan.sides:
                image = example(1, side, side)
                jobs = {way: make(image) for way, make in runs.items() if way not in plan.leave_out}
                seconds = in_turns(jobs, rounds=plan.rounds, device=torch.device("cpu"))
                rows += [row(seconds, way) | {"network": name, "side": side, "way": way} for way in jobs]
                for one in rows[-len(jobs) :]:
                    print(
                        f"{name:8} {side:4} {one['way']:18} {one['seconds'] * 1e3:8.1f} ms  "
                        f"{one['ratio']:.2f} of eager (median of rounds {one['paired_ratio']:.2f})",
                        flush=True,
                    )
    return rows


def row(seconds: Mapping[str, list[float]], way: str) -> dict[str, Any]:
    """The least time, and how it compares with that of eager."""
    least = min(seconds[way])
    ratios = {"ratio": least / min(seconds["eager"]), "paired_ratio": ratio(seconds, way, "eager")}
    return {"seconds": least, **ratios}


def export_whole(network: RestorationNetwork, folder: Path) -> Path:
    """The graph of the whole image, laid out as ``cea export onnx torch --fp16`` does."""
    whole = next(graphs(network))
    said = {"size_multiple": str(network.size_multiple)}
    onnx_files.write([whole], folder / "onnx", opset=onnx_files.OPSET, fp16=True, facts=said)
    (folder / "torch").mkdir()
    torch.export.save(whole.program, folder / "torch" / "whole.pt2")
    return folder


def ways(network: RestorationNetwork, folder: Path, threads: int) -> Mapping[str, Callable[[torch.Tensor], TimedJob]]:
    """What makes a timed job of an image, for each way to run ``network``, whose export lies in ``folder``."""
    compiled = torch.compile(network, dynamic=False)
    program = torch.export.load(folder / "torch" / "whole.pt2").module()

    def onnx(fp16: bool) -> Callable[[torch.Tensor], TimedJob]:
        runner = Runner(folder / "onnx", fp16=fp16, threads=threads)

        def job(image: torch.Tensor) -> TimedJob:
            pixels = image.numpy()
            return lambda: runner.run("whole", pixels)

        return job

    return {
        "eager": lambda image: forward_job(network, image),
        "torch.compile": lambda image: forward_job(compiled, image),  # type: ignore[arg-type]
        "torch.export": lambda image: forward_job(program, image),
        "onnxruntime fp32": onnx(False),
        "onnxruntime fp16": onnx(True),
    }


def photograph(folder: Path, weights: str | None) -> list[dict[str, Any]]:
    """A hazy, dark photograph from ONNX, whole and in tiles, against the whole in PyTorch."""
    clean = next(iter(Bundled(BundledConfig(names=["china"])).items())).load().rgb
    hazy = degrade(clean, "cdd11/low_haze", seed=3).image.astype(np.float32) / 255
    whole = Restorer.load(weights, device="cpu").restore(hazy, tile=0)
    runner, half = Runner(folder / "onnx"), Runner(folder / "onnx", fp16=True)
    made = {
        "fp32, whole": runner.restore(hazy, tile=0),
        "fp16, whole": half.restore(hazy, tile=0),
        "fp32, tiles, measured whole": runner.restore(hazy, tile=TILE, part=0),
        "fp32, tiles, measured in parts of 256 px": runner.restore(hazy, tile=TILE, part=256),
        "fp16, tiles, measured whole": half.restore(hazy, tile=TILE, part=0),
        "fp32, each tile by itself": alone(runner, hazy, TILE),
    }
    rows = [{"what": name, **difference(restored, whole)} for name, restored in made.items()]
    for row in rows:
        levels = f"mean {row['mean']:.4f}, greatest {row['greatest']:.3f} levels of 255"
        print(f"{row['what']:45} {levels}, {row['dB']:.1f} dB", flush=True)
    return rows


def difference(restored: NDArray[np.float32], whole: NDArray[np.float32]) -> dict[str, float]:
    """Mean and greatest in grey levels, and as PSNR."""
    error = restored.astype(np.float64) - whole
    levels = 255 * np.abs(error)
    return {
        "mean": float(levels.mean()),
        "greatest": float(levels.max()),
        "dB": float(psnr_of(float(np.square(error).mean()))),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    timed = tasks.add_parser("latency")
    timed.add_argument("--sides", type=int, nargs="+", default=[256, 512])
    timed.add_argument("--rounds", type=int, default=15)
    timed.add_argument("--networks", nargs="+", default=["default", "tiny"])
    timed.add_argument("--leave-out", nargs="+", default=[], help="ways, such as torch.compile, which takes minutes")
    timed.add_argument("--exported", type=Path, help="of the default weights: cea export onnx torch --fp16")
    timed.add_argument("--threads", type=int, default=2)
    shown = tasks.add_parser("photograph")
    shown.add_argument("folder", type=Path)
    shown.add_argument("--weights")
    for task in (timed, shown):
        task.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.task == "latency":
        import onnxruntime

        versions = f"PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}, {platform.machine()}"
        print(f"{versions}, {arguments.threads} threads, least of {arguments.rounds} rounds", flush=True)
        rows = latency(arguments)
    else:
        rows = photograph(arguments.folder, arguments.weights)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
