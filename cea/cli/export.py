"""``cea export``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cea.cli.app import app, examples
from cea.cli.options import TrustCode, Weights
from cea.cli.voice import tell


@app.command(
    "export",
    short_help="Weights for ONNX, a model hub, spandrel.",
    epilog=examples(
        "cea export onnx -o exported --fp16",
        "cea export onnx torch hub spandrel -o exported",
        "cea export hub -o exported --weights w.safetensors",
    ),
)
def export(
    formats: Annotated[list[str], typer.Argument(metavar="FORMAT", help="onnx, torch (torch.export), hub, spandrel.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder; made whole or not at all.")],
    weights: Weights = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="ONNX in half precision, too.")] = False,
    opset: Annotated[int, typer.Option(min=18, max=23, help="Version of ONNX's operators.")] = 18,
    check: Annotated[bool, typer.Option(help="Compare with PyTorch at five sizes, and tiles with the whole.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    trust_code: TrustCode = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs: files and differences, as JSON on stdout.")
    ] = False,
) -> None:
    """Export weights; each format gets a folder of its name. What differs from PyTorch is refused."""
    from cea.export.write import ExportOptions, export_to, prepare
    from cea.restoring.restorer import Restorer

    options = ExportOptions(formats, fp16, opset, check, overwrite)  # type: ignore[arg-type]
    prepare(out, options)
    say = partial(tell, err=as_json)
    restorer = Restorer.load(weights, device="cpu", trust_code=trust_code)
    say(f"weights: {restorer.name} (sha256 {restorer.sha256[:12]})")
    facts = export_to(restorer, out, options, say)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, size in facts["files"].items():
        typer.echo(f"{out / name}  {size / 1e6:.2f} MB")
