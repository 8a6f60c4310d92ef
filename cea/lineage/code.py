"""Which code a stage runs, as digests that change when its results may change, and at nothing else.

DVC does not follow Python imports. Stage ``code`` therefore writes, for each stage and recipe, the files that it
imports with a digest of each one's syntax tree: comments, docstrings and layout are not in it.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cea.errors import DataError

TARGET = re.compile(r"^([A-Za-z_]\w*(?:\.\w+)*):\w+$")
"""How registries name a component: ``module:Name``."""

NEUTRAL = "CHANGES_NO_RESULT"
"""A module that sets this name to True at its top (progress lines, tracking) is left out with what only it imports."""


def closure(modules: Iterable[str], root: Path, wanted: Callable[[str], bool] = lambda _: False) -> set[Path]:
    """Files below ``root``, relative to it, that ``modules`` reach by imports, late ones included.

    Registries name their components as ``"module:Name"`` strings and import one only when it is asked for: such a
    module counts where ``wanted`` says so. A file beside a module that a string in it names (a template, a table) is
    one of its files. Left out: empty files, modules that are only imported for type checking, and `NEUTRAL` ones.

    Raises:
        DataError: a module that Python cannot parse.
    """
    seen: set[Path] = set()
    waiting = [_locate(module, root) for module in modules]
    while waiting:
        file = waiting.pop()
        if file is None or file in seen:
            continue
        tree = _parse(file)
        if _is_neutral(tree):
            continue
        seen.add(file)
        strings = list(_strings(tree))
        seen.update(_beside(file, strings))
        named = (match[1] for text in strings if (match := TARGET.match(text)))
        waiting += [_locate(module, root) for module in [*_imported(tree), *filter(wanted, named)]]
    return {file.relative_to(root) for file in seen if file.stat().st_size}


def listing(files: Iterable[Path], root: Path) -> str:
    """A line ``<digest>  <path>`` per file, ordered by path."""
    return "".join(f"{digest(root / file)}  {file.as_posix()}\n" for file in sorted(files))


def digest(file: Path) -> str:
    """32 hex digits: of a Python file's syntax tree, of any other file's bytes."""
    data = repr(_plain(_parse(file))).encode() if file.suffix == ".py" else file.read_bytes()
    return hashlib.sha256(data).hexdigest()[:32]


def _plain(node: object) -> object:
    """A syntax tree as nested tuples without positions, docstrings and empty fields.

    ``ast.dump`` would do the same, but what it says depends on the version of Python: newer ones have more fields.
    """
    if isinstance(node, ast.AST):
        fields = ((name, _plain(value)) for name, value in ast.iter_fields(_without_docstring(node)) if name != "kind")
        return (type(node).__name__, *((name, value) for name, value in fields if value not in (None, ())))
    if isinstance(node, list):
        return tuple(map(_plain, node))
    return None if node is None else (type(node).__name__, repr(node))


def _without_docstring(node: ast.AST) -> ast.AST:
    """``node`` with no strings that are statements of their own, in its body: docstrings of it and of its fields."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        node.body = [each for each in node.body if not _is_text(each)]
    return node


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _parse(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{file}: {error}", expected="Python", remedy="correct it") from None


def _is_neutral(tree: ast.Module) -> bool:
    names = [target.id for node in tree.body for target in _targets(node) if isinstance(target, ast.Name)]
    return NEUTRAL in names


def _targets(node: ast.stmt) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else []


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in _at_run_time(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _beside(file: Path, strings: Iterable[str]) -> Iterator[Path]:
    for text in strings:
        if (
            re.fullmatch(r"\w+\.\w+", text)
            and not text.endswith(".py")
            and (neighbour := file.with_name(text)).is_file()
        ):
            yield neighbour


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield child
            yield from _at_run_time(child)


def _locate(module: str, root: Path) -> Path | None:
    """The file of a project module, a plug-in beside the packages included; None for foreign modules and names."""
    file = root.joinpath(*module.split(".")).with_suffix(".py")
    return file if file.is_file() else None
