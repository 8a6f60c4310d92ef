"""``cea eval``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cea.cli.app import app, examples
from cea.cli.options import Tile, TrustCode, Weights
from cea.cli.voice import is_quiet, tell
from cea.errors import ConfigError, InputError


@app.command(
    "eval",
    short_help="Judge weights, or outputs, on test sets.",
    epilog=examples(
        "cea eval --data testsets -o tables",
        "cea eval --data testsets --outputs others",
    ),
)
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
    crop: Annotated[
        Literal["known", "center", "top-left"],
        typer.Option(help="Part of a target that is larger than its input; known: only as in SOTS indoor."),
    ] = "known",
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Judge incomplete sets.")] = False,
    no_reference: Annotated[bool, typer.Option("--no-reference", help="Photographs without targets.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read and score.")] = 2,
    check: Annotated[bool, typer.Option(help="Compute every score again with scikit-image.")] = True,
    tile: Tile = None,
    trust_code: TrustCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: the summary, as JSON.")] = False,
) -> None:
    """Judge weights, or another method's outputs, on a folder of test sets; what is broken is named, with status 2."""
    from cea.extras import require

    require("polars", "cea eval")
    from cea.config import parse
    from cea.evaluation.config import EvaluationConfig
    from cea.evaluation.folder import FolderJob, Method, check_all_judged, judge_folder, left_out_lines, score_lines
    from cea.metrics.protocol import find_protocol

    values = {"protocol": find_protocol(protocol).name, "workers": workers, "check": check}
    config = parse(EvaluationConfig, values, "cea eval")
    method = Method(outputs=outputs) if outputs else _restorer(weights, tile, trust_code)
    if as_json and no_reference:
        raise ConfigError(
            "--json with --no-reference", expected="one of them", remedy=f"read {out / 'photographs.json'}"
        )
    if no_reference:
        lines, left_out, found = _without_reference(data, out, method)
    else:
        job = FolderJob(data, out, train, skip_missing, pairs=pairs, crop=crop)
        summary = judge_folder(job, method, config, partial(tell, err=as_json))
        lines = [json.dumps(summary, indent=2)] if as_json else score_lines(summary)
        left_out, found = summary["left_out"], summary["images_found"]
    for line in lines:
        typer.echo(line)
    for line in left_out_lines(left_out):
        typer.echo(line, err=True)
    check_all_judged(data, left_out, found)


def _without_reference(data: Path, out: Path, method: Any) -> tuple[list[str], dict[str, str], int]:
    """Lines of scores, photographs left out with their reasons, how many there are with these."""
    from cea.evaluation.folder import none_judged, short_line
    from cea.evaluation.photographs import judge_photographs
    from cea.evaluation.summary import to_json
    from cea.io.faults import shown
    from cea.io.images import write_bytes
    from cea.io.tables import write_table
    from cea.metrics.no_reference import DIRECTIONS

    if method.restore is None:
        raise ConfigError("--no-reference with --outputs", expected="one of them", remedy="pass the outputs as --data")
    errors: dict[Path, InputError] = {}
    scores, table, missing = judge_photographs({"photographs": data}, method.restore, errors)
    left_out = {shown(path): str(error).removeprefix(f"{path}: ") for path, error in errors.items()}
    if table.is_empty():
        raise none_judged(left_out, list(errors.values()), typer.echo)
    write_table(out / "photographs.parquet", table)
    write_bytes(out / "photographs.json", to_json({**scores, "skipped": missing, "left_out": left_out}))
    lines = [
        f"{score} of {name}: {row['input']:.4f} -> {row['output']:.4f} on {row['images']} images ({DIRECTIONS[score]})"
        for score, figures in scores["photographs"].items()
        for name, row in [*figures["sets"].items(), ("all", figures)]
    ]
    lines += [f"{name} left out: {reason}" for name, reason in missing.items()]
    judged = len(table) // table["score"].n_unique()
    found = judged + len(left_out)
    return [*lines, *short_line(judged, found)], left_out, found


def _restorer(weights: str | None, tile: int | None, trust_code: bool) -> Any:
    from cea.evaluation.folder import Method
    from cea.inference import restore, tile_for
    from cea.restoring.outlook import outlook
    from cea.restoring.restorer import Restorer

    restorer = Restorer.load(weights, device="cpu", trust_code=trust_code)
    return Method(
        f"{restorer.sha256} tile={tile}",
        lambda image: restore(restorer.network, image, tile=tile_for(image, tile)),
        name=f"{restorer.name} (sha256 {restorer.sha256[:12]})",
        outlook=lambda paths: None if is_quiet() else outlook(restorer.network, paths, tile, then="scoring on top"),
    )
