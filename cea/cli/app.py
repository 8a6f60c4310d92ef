"""The ``cea`` command itself: what its commands have in common."""

from __future__ import annotations

import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cea.errors import one_line, status_of


class _Commands(TyperGroup):
    """The boundary: whatever happens ends as one line on stderr and an exit status (``cea.errors.one_line``)."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        # A plug-in given as module:Class lies in the user's folder; nothing there may take the place of a library.
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        try:
            with warnings.catch_warnings():
                if not (sys.warnoptions or _debug(ctx)):
                    warnings.simplefilter("ignore")
                return super().invoke(ctx)
        except (typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if hasattr(error, "exit_code"):  # typer's own: wrong options, an early end
                raise
            if _debug(ctx):
                traceback.print_exc()
            typer.echo(f"error: {one_line(error)}", err=True)
            raise typer.Exit(status_of(error)) from None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """``--debug`` may stand behind the command as well."""
        end = args.index("--") if "--" in args else len(args)
        if "--debug" in args[1:end]:
            args = ["--debug", *(word for word in args[:end] if word != "--debug"), *args[end:]]
        return super().parse_args(ctx, args)


def _debug(ctx: typer.Context) -> bool:
    return bool(ctx.params.get("debug"))


app = typer.Typer(
    cls=_Commands,
    help="Degrade photographs, and restore them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (also behind a command's name).")
    ] = False,
) -> None:
    pass
