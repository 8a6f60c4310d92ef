"""The command line: ``cea ...``. One function per command; libraries are imported when a command needs them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from cea.errors import ConfigError, InputError

if TYPE_CHECKING:
    from cea.degradations.records import Record
    from cea.degradations.render import Rendered
    from cea.types import ImageU8


class _Commands(TyperGroup):
    """Turns what a user can mend into one line on stderr and exit status 2."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        # A plug-in given as module:Class lies in the user's folder, as it does for `python -m`.
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            return super().invoke(ctx)
        except InputError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Commands,
    help="Degrade photographs, and restore them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


Tile = Annotated[
    int | None,
    typer.Option(min=0, help="Side of tiles, px; 0: the whole image. Default: whole up to 2.1 megapixels, then 512."),
]


@app.callback()
def _root() -> None:
    pass


@app.command()
def degrade(
    photo: Annotated[Path, typer.Argument(help="A photograph, or a folder of them.")],
    recipe: Annotated[str, typer.Option(help="From params.yaml, or a shipped one such as cdd11/low_haze.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .png file, or a folder where PHOTO is one.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same pixels.")] = 0,
    uneven: Annotated[bool, typer.Option("--uneven", help="Let strengths vary over the image.")] = False,
    maps: Annotated[bool, typer.Option("--maps", help="Write severity, transmission, ... as 16-bit PNG.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Write every drawn number as JSON.")] = False,
    depth: Annotated[Path | None, typer.Option(help="Depth map, image or .npy (one photograph only).")] = None,
    depth_convention: Annotated[
        Literal["inverse", "metric"] | None, typer.Option(help="inverse: near is large; metric: far is large.")
    ] = None,
    light: Annotated[Path | None, typer.Option(help="Illumination map (one photograph only).")] = None,
    params: Annotated[Path, typer.Option(help="File whose recipes may be named.")] = Path("params.yaml"),
) -> None:
    """Degrade a photograph, or every one in a folder; broken ones are left out and named at the end."""
    from cea.degradations import files
    from cea.errors import ImageError

    if photo.is_dir() and (depth or light):
        raise ConfigError(
            "--depth or --light with a folder", expected="one photograph", remedy="pass photographs singly"
        )
    wish = files.Wish(
        *_recipe(recipe, params),
        seed,
        uneven,
        None if depth is None else _depth(depth, depth_convention),
        None if light is None else files.read_light(light),
    )
    pairs, broken = files.targets(photo, out), []
    for source, target in pairs:
        try:
            drawn, rendered = files.degrade(source, wish)
        except ImageError as error:
            if not photo.is_dir():
                raise
            broken.append(str(source.relative_to(photo)))
            typer.echo(f"left out: {error}", err=True)
            continue
        files.write(target, drawn, rendered, with_maps=maps, with_record=record)
        _describe(target, drawn, rendered)
    if broken:
        raise ImageError(
            f"{photo}: {len(broken)} of {len(pairs)} images were left out: {', '.join(broken)}",
            expected="images that can be read",
            remedy="replace or remove them; the others are written",
        )


@app.command()
def gallery(
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder.")],
    photo: Annotated[list[Path] | None, typer.Option(help="Photographs to use; default: bundled ones.")] = None,
    width: Annotated[int, typer.Option(min=64, max=1024, help="Of a tile, px.")] = 256,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the JPEG files.")] = 80,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 3,
) -> None:
    """Draw contact sheets: families by severity, recipes by draw."""
    from cea.degradations import gallery as drawing

    photos = _photos(photo)
    sheet = drawing.Sheet(width, seed)
    _write_jpeg(out / "families.jpg", drawing.families(photos, drawing.family_names(), sheet), quality)
    _write_jpeg(out / "recipes.jpg", drawing.recipes(photos, drawing.recipe_names(), sheet), quality)


@app.command("restore")
def restore_photo(
    photo: Annotated[Path, typer.Argument(help="A photograph, or a folder of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .png file, or a folder where PHOTO is one.")],
    weights: Annotated[Path, typer.Option(help="A .safetensors file.")] = Path("data/model/best.safetensors"),
    tile: Tile = None,
) -> None:
    """Restore a photograph, or every one in a folder; 16-bit files stay 16-bit."""
    import numpy as np

    from cea.degradations.files import targets
    from cea.imageio import read_rgb, to_uint8, write_image
    from cea.inference import restore, tile_for
    from cea.models.checkpoint import load_weights

    model, _ = load_weights(weights)
    for source, target in targets(photo, out):
        image = read_rgb(source)
        restored = restore(model, image, tile=tile_for(image, tile))
        deep = np.rint(restored * np.float32(65535)).astype(np.uint16) if image.dtype == np.uint16 else None
        write_image(target, to_uint8(restored) if deep is None else deep)
        typer.echo(f"{target}  {image.shape[1]}x{image.shape[0]}")


@app.command("eval")
def evaluate(
    data: Annotated[Path, typer.Option(help="Folder of a benchmark (PromptIR, MoCE-IR, OneRestore), or input/target.")],
    weights: Annotated[Path, typer.Option(help="A .safetensors file.")] = Path("data/model/best.safetensors"),
    outputs: Annotated[Path | None, typer.Option(help="Judge these images of another method instead.")] = None,
    protocol: Annotated[str, typer.Option(help="cea, promptir, moceir, moceir-cdd11, onerestore, derain-y.")] = "cea",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables.")] = Path("metrics/eval"),
    train: Annotated[Path | None, typer.Option(help="Images trained on: refused where they are tested on.")] = None,
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Judge incomplete sets.")] = False,
    no_reference: Annotated[bool, typer.Option("--no-reference", help="Photographs without targets.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read and score.")] = 2,
    check: Annotated[bool, typer.Option(help="Compute every score again with scikit-image.")] = True,
    tile: Tile = None,
) -> None:
    """Judge weights, or another method's outputs, on a benchmark folder."""
    from cea.config import parse
    from cea.evaluation.config import EvaluationConfig
    from cea.evaluation.folder import FolderJob, Method, judge_folder, score_lines

    values = {"protocol": protocol, "workers": workers, "check": check}
    config = parse(EvaluationConfig, values, "cea eval")
    method = Method(outputs=outputs) if outputs else _restorer(weights, tile)
    if no_reference:
        for line in _without_reference(data, out, method):
            typer.echo(line)
        return
    summary = judge_folder(FolderJob(data, out, train, skip_missing), method, config, typer.echo)
    for line in score_lines(summary):
        typer.echo(line)


def _without_reference(data: Path, out: Path, method: Any) -> list[str]:
    from cea.data.tables import write_table
    from cea.evaluation.photographs import judge_photographs
    from cea.evaluation.summary import to_json
    from cea.imageio import write_bytes

    if method.restore is None:
        raise ConfigError("--no-reference with --outputs", expected="one of them", remedy="pass the outputs as --data")
    found, table, missing = judge_photographs({"photographs": data}, method.restore)
    write_table(out / "photographs.parquet", table)
    write_bytes(out / "photographs.json", to_json({**found, "skipped": missing}))
    lines = [
        f"{score} of {name}: {row['input']:.4f} -> {row['output']:.4f} on {row['images']} images"
        for score, figures in found["photographs"].items()
        for name, row in [*figures["sets"].items(), ("all", figures)]
    ]
    return [*lines, *(f"{name} left out: {reason}" for name, reason in missing.items())]


@app.command("cost")
def measure_cost(
    adapter: Annotated[list[str] | None, typer.Argument(help="Adapters to set against none; default: cea.")] = None,
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
) -> None:
    """Parameters, MACs, time and memory of adapters, as ratios to the same network without one."""
    import os

    os.environ.setdefault("KINETO_LOG_LEVEL", "9")
    from cea.config import parse
    from cea.models import overhead, stopwatch
    from cea.models.allocator import keep_freed_memory
    from cea.models.config import ModelConfig

    keep_freed_memory()
    reference = parse(ModelConfig, {"size": size, "block": block, "rank": rank}, "cea cost")
    configs = overhead.against_none(reference, adapter or ["cea"], matched=matched)
    images = tuple(_pixels(text) for text in image or ("256", "512", "1080p"))
    plan = overhead.Plan(images, (8, 128) if step else None, rounds, _device(device))
    typer.echo("\n".join(overhead.lines(overhead.count(configs))))
    if not count_only:
        typer.echo(f"\n{_machine(plan.device, threads)}; median of {rounds}, in turns")
        with stopwatch.threads(threads):
            for figures in overhead.measure(configs, plan):
                typer.echo("\n".join(["", *overhead.lines(figures)]))


def _pixels(text: str) -> tuple[int, int]:
    """``256``, ``1920x1080`` (width first, as screens are named) or ``1080p`` to (height, width)."""
    width, _, height = {"1080p": "1920x1080"}.get(text, text).partition("x")
    try:
        found = int(height or width), int(width)
    except ValueError:
        found = (0, 0)
    if min(found) < 1:
        raise ConfigError(f"--image {text}", expected="pixels: 256, 1920x1080 or 1080p", remedy="correct it")
    return found


def _device(wish: str) -> str:
    import torch

    if wish == "gpu" and not torch.cuda.is_available():
        raise ConfigError("--device gpu", expected="a GPU that PyTorch sees", remedy="use --device cpu")
    return "cuda" if wish != "cpu" and torch.cuda.is_available() else "cpu"


def _machine(device: str, threads: int) -> str:
    import torch

    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, bfloat16, PyTorch {torch.__version__}"
    return f"CPU (threads: {threads or torch.get_num_threads()}), float32, PyTorch {torch.__version__}"


def _restorer(weights: Path, tile: int | None) -> Any:
    import hashlib

    from cea.evaluation.folder import Method
    from cea.inference import restore, tile_for
    from cea.models.checkpoint import load_weights

    model, _ = load_weights(weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return Method(f"{digest} tile={tile}", lambda image: restore(model, image, tile=tile_for(image, tile)))


def _recipe(name: str, params: Path) -> tuple[str, Any]:
    from cea.config import read_params
    from cea.degradations.shipped import find

    own = read_params(params).get("recipes") if params.exists() or params != Path("params.yaml") else None
    return find(name, own)


def _depth(path: Path, convention: Literal["inverse", "metric"] | None) -> Any:
    from cea.degradations.files import read_depth
    from cea.degradations.scene import sign_warning

    if convention is None:
        raise ConfigError(
            "--depth without --depth-convention",
            expected="inverse (near is large) or metric (far is large)",
            remedy="say which one the depth map follows",
        )
    depth = read_depth(path, convention)
    warning = sign_warning(depth)
    if warning:
        typer.echo(f"warning: {path}: {warning}", err=True)
    return depth


def _describe(path: Path, record: Record, rendered: Rendered) -> None:
    from cea.metrics.psnr import psnr

    height, width = rendered.degraded.shape[:2]
    typer.echo(f"{path}  {width}x{height}  PSNR {psnr(rendered.degraded, rendered.clean):.2f} dB")
    for node in record.nodes:
        field = f"  ({node.field.kind})" if node.field else ""
        typer.echo(f"  {node.label}{field}")
        for key, value in node.params.items():
            typer.echo(f"    {key} {_short(value)}")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        return f"{len(value)} entries"
    return " ".join(map(_short, value)) if isinstance(value, list) else str(value)


def _photos(paths: list[Path] | None) -> list[ImageU8]:
    from cea.degradations.planes import as_rgb8
    from cea.imageio import read_rgb

    if paths:
        return [as_rgb8(read_rgb(path)) for path in paths]
    from cea.data.sources.bundled import Bundled, BundledConfig

    return [as_rgb8(item.load().rgb) for item in Bundled(BundledConfig(names=["china", "coffee"])).items()]


def _write_jpeg(path: Path, image: ImageU8, quality: int) -> None:
    import cv2

    from cea.imageio import write_bytes

    ok, data = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert ok
    write_bytes(path, data.tobytes())
    typer.echo(f"{path}  {image.shape[1]}x{image.shape[0]}  {len(data) // 1024} KiB")


if __name__ == "__main__":
    app()
