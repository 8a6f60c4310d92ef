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
    """Degrade a photograph, or every one in a folder."""
    from cea.degradations import files

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
    for source, target in files.targets(photo, out):
        drawn, rendered = files.degrade(source, wish)
        files.write(target, drawn, rendered, with_maps=maps, with_record=record)
        _describe(target, drawn, rendered)


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
) -> None:
    """Restore a photograph, or every one in a folder; 16-bit files stay 16-bit."""
    import numpy as np

    from cea.degradations.files import targets
    from cea.imageio import read_rgb, to_uint8, write_image
    from cea.inference import restore
    from cea.models.checkpoint import load_weights

    model, _ = load_weights(weights)
    for source, target in targets(photo, out):
        image = read_rgb(source)
        restored = restore(model, image)
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
    workers: Annotated[int, typer.Option(min=1, help="Threads that read and score.")] = 2,
    check: Annotated[bool, typer.Option(help="Compute every score again with scikit-image.")] = True,
) -> None:
    """Judge weights, or another method's outputs, on a benchmark folder."""
    from cea.config import parse
    from cea.evaluation.config import EvaluationConfig
    from cea.evaluation.folder import FolderJob, Method, judge_folder, score_lines

    values = {"protocol": protocol, "workers": workers, "check": check}
    config = parse(EvaluationConfig, values, "cea eval")
    method = Method(outputs=outputs) if outputs else _restorer(weights)
    summary = judge_folder(FolderJob(data, out, train, skip_missing), method, config, typer.echo)
    for line in score_lines(summary):
        typer.echo(line)


def _restorer(weights: Path) -> Any:
    import hashlib
    from functools import partial

    from cea.evaluation.folder import Method
    from cea.inference import restore
    from cea.models.checkpoint import load_weights

    model, _ = load_weights(weights)
    return Method(hashlib.sha256(weights.read_bytes()).hexdigest(), partial(restore, model))


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
