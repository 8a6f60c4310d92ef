"""The ``cea`` command itself: what its commands have in common."""

from __future__ import annotations

import re
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cea.cli import voice
from cea.errors import InputError, one_line, status_of
from cea.extras import EXTRAS, missing

_ANYWHERE = ("--debug", "-q", "--quiet", "-v", "--verbose")
"""Options of ``cea`` that may also stand behind a command's name."""

_FIRST = ("restore", "degrade", "eval", "app", "export", "gallery")


def examples(*commands: str) -> str:
    """The end of a command's help: commands as one types them; the first is shown by ``cea --help``."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


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
                _end_with_usage(error)
                raise
            if _debug(ctx):
                traceback.print_exc()
            told = _without_extra(error, ctx) or error
            typer.echo(f"error: {one_line(told)}", err=True)
            raise typer.Exit(status_of(told)) from None

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Wrong options before a command's name end as one line, too."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except Exception as error:
            _end_with_usage(error)
            raise

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What all commands share may stand behind the command as well; an empty word is refused."""
        _refuse_empty(args)
        end = args.index("--") if "--" in args else len(args)
        moved = [word for word in args[1:end] if word in _ANYWHERE]
        if moved:
            args = [*moved, args[0], *(word for word in args[1:end] if word not in _ANYWHERE), *args[end:]]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """What most people come for stands first."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The first example of each command."""
        lines = [_first_example(self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Examples (more with cea COMMAND --help)"):
            for line in filter(None, lines):
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def _refuse_empty(words: list[str]) -> None:
    """An empty word would be read as the current folder; it mostly comes of a variable that is not set.

    Raises:
        typer.Exit: with status 2.
    """
    for before, word in zip(["", *words], words, strict=False):
        if word and not re.fullmatch(r"--[a-z-]+=", word):
            continue
        name = word.rstrip("=") or (before if before.startswith("-") else "an argument")
        error = InputError(f"{name} is empty", expected="a value", remedy="give the value; . is the current folder")
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2)


def _first_example(command: Any) -> str:
    lines = (getattr(command, "epilog", None) or "").splitlines()
    return next((line.strip() for line in lines if line.startswith("  ")), "")


def _without_extra(error: Exception, ctx: typer.Context) -> InputError | None:
    """A library that a plain installation lacks, told with the extra that has it."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXTRAS:
        return missing(str(error.name), f"cea {ctx.invoked_subcommand or ''}".strip())
    return None


def _end_with_usage(error: Exception) -> None:
    """End with one line where ``error`` is typer's of a wrong option or command; it prints several itself.

    Raises:
        typer.Exit: with status 2.
    """
    context, message = getattr(error, "ctx", None), getattr(error, "format_message", None)
    if context is None or message is None or type(error).__name__ == "NoArgsIsHelpError":
        return
    typer.echo(f"error: {_usage(' '.join(message().split()).rstrip('.'), context.command_path)}", err=True)
    raise typer.Exit(2) from None


def _usage(text: str, command: str) -> InputError:
    """What typer says of a wrong option or command, as one of our errors."""
    remedy = f"see {command} --help"
    value = re.fullmatch(r"Invalid value for '(.+?)': (?:Value error, )?(.+)", text)
    if value is None:
        return InputError(text[:1].lower() + text[1:], expected="a command as its help shows it", remedy=remedy)
    wanted = re.fullmatch(r"Input should be (.+?)(?:, unable to .*)?", value[2])
    if wanted is not None:
        expected = wanted[1] if wanted[1].startswith("a ") else f"a number {wanted[1]}"
        return InputError(f"{value[1]} has a wrong value", expected=expected, remedy=remedy)
    choice = re.fullmatch(r"(.+) is not (one of .+)", value[2])
    if choice is not None:
        return InputError(f"{value[1]} {choice[1]}", expected=choice[2], remedy=remedy)
    return InputError(f"{value[1]}: {value[2]}", expected="a value that the option takes", remedy=remedy)


def _debug(ctx: typer.Context) -> bool:
    return bool(ctx.params.get("debug"))


app = typer.Typer(
    cls=_Commands,
    help="All-in-one image restoration: restore photographs, degrade them, and judge the result.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from cea import __version__

        typer.echo(f"cea {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only results, warnings and errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also what libraries log.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    voice.set_level(voice.QUIET if quiet else voice.VERBOSE if verbose else voice.NORMAL)
