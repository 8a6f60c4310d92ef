"""``cea cost``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from cea.cli.app import app, examples
from cea.cli.voice import tell
from cea.errors import ConfigError


@app.command(
    "cost",
    short_help="Parameters, MACs, time, memory of adapters.",
    epilog=examples(
        "cea cost cea film --size tiny --image 256",
        "cea cost --count-only --matched",
    ),
)
def measure_cost(
    adapter: Annotated[
        list[str] | None, typer.Argument(metavar="ADAPTER", help="Adapters to set against none; default: cea.")
    ] = None,
    size: Annotated[str, typer.Option(help="tiny, small or base.")] = "small",
    block: Annotated[str, typer.Option(help="nafnet, restormer or module:Name.")] = "nafnet",
    rank: Annotated[int, typer.Option(help="Experts of an adapter.")] = 8,
    matched: Annotated[bool, typer.Option("--matched", help="Give all as many parameters as cea has.")] = False,
    image: Annotated[list[str] | None, typer.Option(help="256, 1080p, 1920x1080 ...; default: 256 512 1080p.")] = None,
    step: Annotated[bool, typer.Option(help="Also time a training step of 8 patches of 128 px.")] = True,
    count_only: Annotated[bool, typer.Option("--count-only", help="Parameters and MACs; nothing is timed.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements, of which the median is shown.")] = 5,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves PyTorch's choice.")] = 1,
    device: Annotated[Literal["auto", "cpu", "gpu"], typer.Option(help="Where to time.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="For programs: every figure, as JSON.")] = False,
) -> None:
    """Parameters, MACs, time and memory of adapters, as ratios to the same network without one."""
    import os

    os.environ.setdefault("KINETO_LOG_LEVEL", "9")
    from cea.config import parse
    from cea.models.config import ModelConfig
    from cea.models.measure import overhead, stopwatch
    from cea.models.measure.allocator import keep_freed_memory
    from cea.progress import followed

    keep_freed_memory()
    reference = parse(ModelConfig, {"size": size, "block": block, "rank": rank}, "cea cost")
    configs = overhead.against_none(reference, adapter or ["cea"], matched=matched)
    images = tuple(_pixels(text) for text in image or ("256", "512", "1080p"))
    plan = overhead.Plan(images, (8, 128) if step else None, rounds, _device(device))
    counted = overhead.count(configs)
    timed = () if count_only else overhead.measure(configs, plan)
    timed = followed(timed, "cost", len(images) + bool(plan.patches), "task")
    if as_json:
        with stopwatch.threads(threads):
            rows = [asdict(figure) for figures in (counted, *timed) for figure in figures]
        typer.echo(json.dumps(rows, indent=2))
        return
    typer.echo("\n".join(overhead.lines(counted)))
    if not count_only:
        tell(f"\n{_machine(plan.device, threads)}; median of {rounds}, in turns")
    with stopwatch.threads(threads):
        for figures in timed:
            typer.echo("\n".join(["", *overhead.lines(figures)]))


def _pixels(text: str) -> tuple[int, int]:
    """``256``, ``1920x1080`` (width first, as screens are named) or ``1080p`` to (height, width)."""
    width, _, height = {"1080p": "1920x1080"}.get(text, text).partition("x")
    try:
        size = int(height or width), int(width)
    except ValueError:
        size = (0, 0)
    if min(size) < 1:
        raise ConfigError(f"--image {text}", expected="pixels: 256, 1920x1080 or 1080p", remedy="correct the option")
    return size


def _device(wanted: str) -> str:
    import torch

    if wanted == "gpu" and not torch.cuda.is_available():
        raise ConfigError("--device gpu", expected="a GPU that PyTorch sees", remedy="use --device cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def _machine(device: str, threads: int) -> str:
    import torch

    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, bfloat16, PyTorch {torch.__version__}"
    return f"CPU (threads: {threads or torch.get_num_threads()}), float32, PyTorch {torch.__version__}"
