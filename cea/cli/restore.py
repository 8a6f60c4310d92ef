"""``cea restore``."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cea.cli.app import app, examples
from cea.cli.options import Tile, TrustCode, Weights
from cea.cli.pace import Pace
from cea.cli.voice import detail, is_quiet, tell
from cea.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cea.inference import Estimates
    from cea.io.outputs import PictureJob, Plan
    from cea.io.photo import Photo
    from cea.restoring.receipt import Writer
    from cea.restoring.restorer import Restorer
    from cea.types import Image, Map

_PIPE = Path("-")


@app.command(
    "restore",
    short_help="Restore photographs.",
    epilog=examples(
        "cea restore photo.jpg -o restored.png",
        "cea restore holiday -o out --strength 0.6 --compare",
        "cea restore - -o - < photo.jpg > restored.png",
    ),
)
def restore_photo(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO", help="Photographs, folders, 'globs/*.jpg', or - for stdin.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="A file (.png .tif .jpg .webp), a folder, or - for stdout.")],
    weights: Weights = None,
    tile: Tile = None,
    device: Annotated[Literal["auto", "cpu", "gpu"], typer.Option(help="Where to compute.")] = "auto",
    strength: Annotated[
        str,
        typer.Option(help="Share of the correction, 0 to 1, or a grey picture of its size: white keeps all of it."),
    ] = "1",
    compare: Annotated[bool, typer.Option("--compare", help="A sheet before | after beside each output.")] = False,
    receipt: Annotated[
        bool, typer.Option("--receipt", help="What the network estimates, as maps and JSON beside each output.")
    ] = False,
    suffix: Annotated[str, typer.Option(help="Format in a folder or of stdout.")] = ".png",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG files.")] = 95,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make again what a folder holds already.")] = False,
    trust_code: TrustCode = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs: weights and each photograph written, as JSON on stdout.")
    ] = False,
) -> None:
    """Restore photographs; deep ones stay deep, grey ones grey. What is left out is named, with status 2."""
    from cea.io.outputs import process
    from cea.io.writer import FORMATS, write_photo
    from cea.restoring.photographs import read_strength, strength_name
    from cea.restoring.receipt import Writer, check_heads, check_places

    if suffix.lower() not in FORMATS:
        raise ConfigError(f"--suffix {suffix}", expected=f"one of {', '.join(FORMATS)}", remedy="correct the option")
    share = read_strength(strength)
    if _PIPE in (*photos, out):
        _check_pipes(photos, out, {"--compare": compare, "--receipt": receipt})
        _through_pipes(
            photos[0], out, suffix, quality, lambda: _Work(_restorer(weights, device, trust_code), tile, share)
        )
        return
    plan = _plan(photos, out, suffix, beside=compare or receipt)
    restorer = _restorer(weights, device, trust_code, partial(tell, err=as_json))
    seen: list[Estimates] = []
    restoring = _Work(restorer, tile, share, seen.append if receipt else None)
    pace, written = Pace(plan), list[dict[str, object]]()
    _tell_outlook(restorer, plan, tile, err=as_json)
    writer: Writer | None = None
    if receipt:
        check_places(plan.jobs, check_heads(restorer.network, _say))
        writer = Writer(restorer.sha256, strength, share, tile)

    def work(job: PictureJob) -> None:
        before, after, notes = restoring(job.source, pace.label(job))
        notes += write_photo(job.target, after, quality=quality)
        if compare:
            _write_sheet(job, before, after)
        if writer is not None:
            writer(job, after.rgb.shape[:2], seen.pop())
        height, width = after.rgb.shape[:2]
        line = f"{job.target}  {width}x{height}{pace.done(job)}" + "".join(f"  ({note})" for note in notes)
        tell(line, err=as_json)
        facts = {"source": str(job.source), "target": str(job.target), "width": width, "height": height}
        written.append({**facts, "notes": list(notes)})

    try:
        process(
            plan,
            work,
            _say,
            settings={"command": "restore", "weights": restorer.sha256, "strength": strength_name(share)}
            | ({"quality": quality} if FORMATS[suffix.lower()] == "JPEG" else {}),
            overwrite=overwrite,
            is_done=lambda job: (
                job.target.is_file()
                and (not compare or _sheet_of(job).is_file())
                and (writer is None or writer.is_done(job))
            ),
        )
    finally:
        if as_json:
            of = {"name": restorer.name, "sha256": restorer.sha256}
            typer.echo(json.dumps({"weights": of, "written": written}, indent=2))


def _tell_outlook(restorer: Restorer, plan: Plan, tile: int | None, *, err: bool) -> None:
    """How long it will take, where that is worth telling; photographs that are there already count as well."""
    from cea.restoring.outlook import outlook

    line = None if is_quiet() else outlook(restorer.network, [job.source for job in plan.jobs], tile)
    if line is not None:
        tell(line, err=err)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _plan(photos: list[Path], out: Path, suffix: str, *, beside: bool) -> Plan:
    from cea.io.outputs import plan_outputs
    from cea.io.writer import FORMATS

    named: list[Path] = []
    for photo in photos:
        if set(str(photo)) & set("*?[") and not photo.exists():
            matches = sorted(Path(photo.anchor).glob(str(photo.relative_to(photo.anchor))))
            if not matches:
                raise ImageError(f"{photo}: matches nothing", expected="photographs", remedy="check the pattern")
            named += matches
        else:
            named.append(photo)
    return plan_outputs(named, out, FORMATS, default=suffix.lower(), beside=beside)


def _restorer(
    weights: str | None, device: str, trust_code: bool, say: Callable[[str], None] = partial(tell, err=True)
) -> Restorer:
    """The network on its device; says which weights these are."""
    import torch

    from cea.restoring.restorer import Restorer
    from cea.weights.default import CARD, default_weights

    restorer = Restorer.load(weights, device=device, trust_code=trust_code)
    place = "GPU" if restorer.device.type == "cuda" else "CPU"
    say(f"weights: {restorer.name} (sha256 {restorer.sha256[:12]}){_trained(restorer.metadata)}, on the {place}")
    count = sum(parameter.numel() for parameter in restorer.network.parameters())
    detail(f"{count:,} parameters, PyTorch on {torch.get_num_threads()} threads")
    if weights is None:
        say(f"training, results, limits and harm: {default_weights().with_name(CARD)}")
    return restorer


def _trained(metadata: Mapping[str, object]) -> str:
    """How long weights were trained, and their mean gain on the validation images, where they say so."""
    step, gain = metadata.get("step"), metadata.get("val_gain_psnr")
    steps = f", step {step}" if isinstance(step, int) else ""
    return steps + (f", {gain:+.2f} dB in validation" if isinstance(gain, float) else "")


@dataclass(frozen=True)
class _Work:
    """What is done to each photograph."""

    restorer: Restorer
    tile: int | None
    strength: float | Map
    judged: Callable[[Estimates], None] | None = None

    def __call__(self, source: Path | bytes, label: str) -> tuple[Photo, Photo, tuple[str, ...]]:
        """A photograph before and after, and notes; warns where it is unlike what weights are trained for."""
        from cea.io.images import read_photo
        from cea.progress import Progress

        began = time.monotonic()
        before = read_photo(source, None if isinstance(source, Path) else "stdin")
        with Progress(label) as progress:
            after, warnings = self.restorer.restore_photo(
                before, strength=self.strength, tile=self.tile, progress=progress.step, judged=self.judged
            )
        depth = 8 * before.rgb.dtype.itemsize
        detail(f"{label}: {depth} bits, {self._in_tiles(before.rgb)}, {time.monotonic() - began:.1f} s")
        if warnings:
            _say(f"warning: {label}: {'; '.join(warnings)}")
        return before, after, before.notes

    def _in_tiles(self, image: Image) -> str:
        from cea.inference import tile_for

        side = tile_for(image, self.tile)
        return "whole" if side is None or max(image.shape[:2]) <= side else f"in tiles of {side} px"


def _check_pipes(photos: list[Path], out: Path, beside: Mapping[str, bool]) -> None:
    if len(photos) > 1:
        raise ConfigError("- with several photographs", expected="one photograph", remedy="pass photographs singly")
    for option in (name for name, wanted in beside.items() if wanted):
        raise ConfigError(
            f"{option} with -", expected="files, as it writes beside them", remedy=f"leave {option} out, or name files"
        )
    if photos[0] == _PIPE and sys.stdin.isatty():
        raise ConfigError("- and nothing piped in", expected="a picture on stdin", remedy="cea restore - -o - < a.jpg")
    if out == _PIPE and sys.stdout.isatty():
        raise ConfigError("-o - in a terminal", expected="a pipe or a file", remedy="cea restore a.jpg -o - > b.png")
    if photos[0].is_dir():
        raise ConfigError(f"{photos[0]}: a folder to -", expected="one photograph", remedy="pass photographs singly")


def _through_pipes(photo: Path, out: Path, suffix: str, quality: int, make: Callable[[], _Work]) -> None:
    from cea.io.outputs import check_place
    from cea.io.writer import FORMATS, encode_photo, write_photo

    if out != _PIPE:
        if out.suffix.lower() not in FORMATS:
            raise ImageError(f"{out}: not written here", expected=", ".join(FORMATS), remedy="change the suffix")
        check_place(out, is_folder=False)
    source = sys.stdin.buffer.read() if photo == _PIPE else photo
    before_name = "stdin" if photo == _PIPE else str(photo)
    _, after, notes = make()(source, before_name)
    if out == _PIPE:
        data, more = encode_photo(after, suffix, quality=quality, label="stdout")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        more = write_photo(out, after, quality=quality)
    for note in (*notes, *more):
        tell(f"note: {before_name}: {note}", err=True)


def _sheet_of(job: PictureJob) -> Path:
    return job.target.with_suffix(".compare.png")


def _write_sheet(job: PictureJob, before: Photo, after: Photo) -> None:
    from cea.io.images import encode_png, write_bytes
    from cea.restoring.photographs import sheet

    write_bytes(_sheet_of(job), encode_png(sheet(before, after)))
