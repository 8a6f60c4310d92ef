"""``cea degrade``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cea.cli.app import app, examples
from cea.cli.pace import Pace
from cea.cli.voice import tell
from cea.errors import ConfigError

if TYPE_CHECKING:
    from cea.degradations.engine.records import Record
    from cea.degradations.engine.render import Rendered
    from cea.degradations.tools.files import Degraded
    from cea.io.outputs import PictureJob


@app.command(
    "degrade",
    short_help="Degrade photographs by a recipe.",
    epilog=examples(
        "cea degrade a.jpg --recipe low_haze_rain -o b.png",
        "cea degrade photos --recipe real/camera -o out --record",
        "cea degrade a.jpg --replay b.json -o again.png",
    ),
)
def degrade(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="A photograph, or a folder of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .png, .tif, .webp or .ppm file, or a folder.")],
    recipe: Annotated[
        str | None, typer.Option(help="From params.yaml, or a shipped one such as cdd11/low_haze.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Instead of a recipe: the JSON of --record, or of the page of cea app.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same pixels. Default: 0.")] = None,
    uneven: Annotated[bool, typer.Option("--uneven", help="Let strengths vary over the image.")] = False,
    maps: Annotated[bool, typer.Option("--maps", help="Write severity, transmission, ... as 16-bit PNG.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Write every drawn number as JSON.")] = False,
    depth: Annotated[Path | None, typer.Option(help="Depth map, image or .npy (one photograph only).")] = None,
    depth_convention: Annotated[
        Literal["inverse", "metric"] | None, typer.Option(help="inverse: near is large; metric: far is large.")
    ] = None,
    depth_scale: Annotated[
        float | None, typer.Option(help="The number in the depth map that means 1 (default: full range; 1 of floats).")
    ] = None,
    light: Annotated[Path | None, typer.Option(help="Illumination map (one photograph only).")] = None,
    light_scale: Annotated[float | None, typer.Option(help="The number in the light map that means 1.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make again what a folder holds already.")] = False,
    params: Annotated[Path, typer.Option(help="File whose recipes may be named.")] = Path("params.yaml"),
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs: each photograph written and its record, as JSON on stdout.")
    ] = False,
) -> None:
    """Degrade a photograph, or every one in a folder; broken ones are left out and named at the end."""
    from cea.degradations.tools import files
    from cea.io.outputs import plan_outputs, process

    if photo.is_dir() and (depth or light):
        raise ConfigError(
            "--depth or --light with a folder", expected="one photograph", remedy="pass photographs singly"
        )
    inverse_depth = (
        None if depth is None else _depth(depth, depth_convention, _above_zero("--depth-scale", depth_scale))
    )
    own_light = None if light is None else files.read_light(light, _above_zero("--light-scale", light_scale))
    if replay is None:
        if recipe is None:
            raise ConfigError(
                "neither --recipe nor --replay", expected="one of them", remedy="say --recipe haze, for example"
            )
        options = files.DegradeOptions(*_recipe(recipe, params), seed or 0, uneven, inverse_depth, own_light)
        degraded, settings = partial(files.degrade, options=options), options.settings()
    else:
        degraded, settings = _replayed(photo, replay, {"--recipe": recipe, "--seed": seed, "--uneven": uneven or None})
        degraded = partial(degraded, inverse_depth=inverse_depth, light=own_light)
    plan = plan_outputs([photo], out, files.SUFFIXES, beside=maps or record)
    wanted = {"with_maps": maps, "with_record": record}
    pace = Pace(plan)

    written = list[dict[str, Any]]()

    def work(job: PictureJob) -> None:
        made = degraded(job.source)
        notes = (*made.notes, *files.write(job.target, made, **wanted))
        progress = pace.done(job)
        if as_json:
            facts = {"source": str(job.source), "target": str(job.target), "psnr": _psnr(made.rendered)}
            written.append({**facts, "notes": notes, "record": made.record.model_dump(mode="json")})
            tell(f"{job.target}{progress}", err=True)
            return
        _describe(f"{job.target}{progress}", made.record, made.rendered)
        for note in notes:
            tell(f"  note: {note}")

    try:
        process(
            plan,
            work,
            lambda line: typer.echo(line, err=True),
            settings={"command": "degrade", **settings},
            overwrite=overwrite,
            is_done=lambda job: files.is_written(job.target, **wanted),
        )
    finally:
        if as_json:
            typer.echo(json.dumps({"written": written}, indent=2))


def _replayed(
    photo: Path, record: Path, others: Mapping[str, object]
) -> tuple[partial[Degraded], dict[str, str | int | bool | None]]:
    """What renders the record in a file again, and the settings that name it."""
    from cea.degradations.tools.replay import read_replay, replay
    from cea.io.images import file_sha256

    for option in (name for name, value in others.items() if value is not None):
        raise ConfigError(
            f"{option} with --replay", expected="the record alone, which says all of it", remedy=f"leave {option} out"
        )
    if photo.is_dir():
        raise ConfigError("--replay with a folder", expected="one photograph", remedy="pass photographs singly")
    told = read_replay(record)
    return partial(replay, told=told), {"replay": file_sha256(record)}


def _recipe(name: str, params: Path) -> tuple[str, Any]:
    """The recipe of ``params``, or a shipped one; a ``params.yaml`` of another project hides none of these."""
    from cea.config import read_params
    from cea.degradations.contract.registry import FAMILIES
    from cea.degradations.engine.shipped import find

    FAMILIES.check_plugins()
    if params == Path("params.yaml") and not params.exists():
        return find(name)
    try:
        own = read_params(params).get("recipes") or {}
        if not isinstance(own, dict):
            raise ConfigError(f"{params}: recipes = {own!r}", expected="recipes by name", remedy="correct this section")
    except ConfigError as error:
        if params != Path("params.yaml"):
            raise
        try:
            return find(name)
        except ConfigError as unknown:
            raise ConfigError(
                f"{unknown.what} (the params.yaml here was not read: {error.what})",
                expected=unknown.expected,
                remedy=unknown.remedy,
            ) from None
    return find(name, own)


def _above_zero(option: str, value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise ConfigError(f"{option} {value:g}", expected="a number above 0", remedy="correct the option")
    return value


def _depth(path: Path, convention: Literal["inverse", "metric"] | None, scale: float | None) -> Any:
    from cea.degradations.engine.scene import sign_warning
    from cea.degradations.tools.files import read_depth

    if convention is None:
        raise ConfigError(
            "--depth without --depth-convention",
            expected="inverse (near is large) or metric (far is large)",
            remedy="say which one the depth map follows",
        )
    depth = read_depth(path, convention, scale)
    warning = sign_warning(depth)
    if warning:
        typer.echo(f"warning: {path}: {warning}", err=True)
    return depth


def _describe(target: str, record: Record, rendered: Rendered) -> None:
    height, width = rendered.degraded.shape[:2]
    tell(f"{target}  {width}x{height}  PSNR {_psnr(rendered):.2f} dB")
    for node in record.nodes:
        field = f"  ({node.field.kind})" if node.field else ""
        tell(f"  {node.label}{field}")
        for key, value in node.params.items():
            tell(f"    {key} {_short(value)}")


def _psnr(rendered: Rendered) -> float:
    """In dB, 100 at most: two equal pictures have an infinite one, which JSON does not hold."""
    from cea.metrics.psnr import psnr

    return round(min(psnr(rendered.degraded, rendered.clean), 100.0), 4)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        return f"{len(value)} entries"
    return " ".join(map(_short, value)) if isinstance(value, list) else str(value)
