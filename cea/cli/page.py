"""``cea app``."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cea.cli.app import app, examples
from cea.cli.options import Tile, TrustCode, Weights
from cea.cli.voice import tell

if TYPE_CHECKING:
    from cea.app.drawing import Find


@app.command(
    "app",
    short_help="Restore and degrade on a page in the browser.",
    epilog=examples(
        "cea app",
        "cea app --weights my.safetensors --port 8090",
        "cea app --host 0.0.0.0 --no-browser",
    ),
)
def open_page(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="0.0.0.0 opens it to the network; there is no password.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the page is served.")] = 8080,
    weights: Weights = None,
    tile: Tile = None,
    device: Annotated[Literal["auto", "cpu", "gpu"], typer.Option(help="Where to compute.")] = "auto",
    megapixels: Annotated[int, typer.Option(min=1, max=250, help="The largest photograph, in 10^6 pixels.")] = 24,
    megabytes: Annotated[int, typer.Option(min=1, max=1000, help="The largest file.")] = 50,
    browser: Annotated[bool, typer.Option(help="Open it once it answers.")] = True,
    trust_code: TrustCode = False,
) -> None:
    """Serve a page that restores photographs, or degrades clean ones first; nothing is kept. Ctrl-C ends it."""
    from cea.extras import require

    require("nicegui", "cea app")
    from cea.app.house import House
    from cea.app.limits import Limits
    from cea.app.server import Place, serve
    from cea.restoring.restorer import Restorer

    place = Place(host, port)
    with place.bind() as bound:
        restorer = Restorer.load(weights, device=device, trust_code=trust_code)
        tell(f"weights: {restorer.name} (sha256 {restorer.sha256[:12]})")
        names, find = _recipes()
        debug = bool(context.parent and context.parent.params.get("debug"))
        house = House(restorer, Limits(megabytes, megapixels), tile, names, find, lambda error: _fault(error, debug))
        if not place.is_loopback:
            typer.echo(
                f"warning: {host}: whoever reaches this machine can use the page; it asks nobody for a password",
                err=True,
            )

        def ready() -> None:
            typer.echo(f"page: {place.url}")
            if browser:
                typer.launch(place.url)

        serve(house, bound, place, ready)


def _fault(error: BaseException, debug: bool) -> None:
    """An error that nobody foresaw, on the terminal, too."""
    from cea.errors import one_line

    if debug:
        traceback.print_exception(error, file=sys.stderr)
    typer.echo(f"error: {one_line(error)}", err=True)


def _recipes() -> tuple[list[str], Find]:
    """Names of the recipes of a params.yaml in this folder and of the shipped ones, and what finds one."""
    from functools import partial

    from cea.app.drawing import recipe_names
    from cea.config import read_params
    from cea.degradations.engine.shipped import find
    from cea.errors import ConfigError

    own = {}
    if Path("params.yaml").exists():
        try:
            read = read_params().get("recipes") or {}
            own = read if isinstance(read, dict) else {}
        except ConfigError as error:
            typer.echo(f"note: the params.yaml here is not read: {error.what}", err=True)
    return [*own, *recipe_names()], partial(find, own=own)
