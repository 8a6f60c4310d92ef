"""``cea eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cea.cli.app import app
from cea.cli.options import Tile, TrustCode, Weights
from cea.errors import ConfigError


@app.command("eval")
def evaluate(
    data: Annotated[
        Path, typer.Option(help="Folder of test sets, as PromptIR, MoCE-IR, OneRestore have it, or input/target.")
    ],
    weights: Weights = None,
    outputs: Annotated[Path | None, typer.Option(help="Judge these images of another method instead.")] = None,
    protocol: Annotated[str, typer.Option(help="cea, promptir, moceir, moceir-cdd11, onerestore, derain-y.")] = "cea",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables.")] = Path("eval"),
    train: Annotated[Path | None, typer.Option(help="Images trained on: refused where they are tested on.")] = None,
    pairs: Annotated[
        str | None, typer.Option(help=r"How names pair: 'low(\d+) -> normal\1', or a CSV file of pairs.")
    ] = None,
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Judge incomplete sets.")] = False,
    no_reference: Annotated[bool, typer.Option("--no-reference", help="Photographs without targets.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read and score.")] = 2,
    check: Annotated[bool, typer.Option(help="Compute every score again with scikit-image.")] = True,
    tile: Tile = None,
    trust_code: TrustCode = False,
) -> None:
    """Judge weights, or another method's outputs, on a folder of test sets."""
    from cea.config import parse
    from cea.evaluation.config import EvaluationConfig
    from cea.evaluation.folder import FolderJob, Method, judge_folder, score_lines
    from cea.metrics.protocol import find_protocol

    values = {"protocol": find_protocol(protocol).name, "workers": workers, "check": check}
    config = parse(EvaluationConfig, values, "cea eval")
    method = Method(outputs=outputs) if outputs else _restorer(weights, tile, trust_code)
    if no_reference:
        for line in _without_reference(data, out, method):
            typer.echo(line)
        return
    summary = judge_folder(FolderJob(data, out, train, skip_missing, pairs=pairs), method, config, typer.echo)
    for line in score_lines(summary):
        typer.echo(line)


def _without_reference(data: Path, out: Path, method: Any) -> list[str]:
    from cea.evaluation.photographs import judge_photographs
    from cea.evaluation.summary import to_json
    from cea.io.images import write_bytes
    from cea.io.tables import write_table

    if method.restore is None:
        raise ConfigError("--no-reference with --outputs", expected="one of them", remedy="pass the outputs as --data")
    scores, table, missing = judge_photographs({"photographs": data}, method.restore)
    write_table(out / "photographs.parquet", table)
    write_bytes(out / "photographs.json", to_json({**scores, "skipped": missing}))
    lines = [
        f"{score} of {name}: {row['input']:.4f} -> {row['output']:.4f} on {row['images']} images"
        for score, figures in scores["photographs"].items()
        for name, row in [*figures["sets"].items(), ("all", figures)]
    ]
    return [*lines, *(f"{name} left out: {reason}" for name, reason in missing.items())]


def _restorer(weights: Path | None, tile: int | None, trust_code: bool) -> Any:
    import hashlib

    from cea.evaluation.folder import Method
    from cea.inference import restore, tile_for
    from cea.models.checkpoint import load_weights
    from cea.weights.default import default_weights

    path = weights or default_weights()
    model, _ = load_weights(path, trust_code=trust_code)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Method(f"{digest} tile={tile}", lambda image: restore(model, image, tile=tile_for(image, tile)))
