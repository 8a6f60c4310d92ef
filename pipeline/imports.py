"""Which project files a module needs, found by reading its imports: the truth that dvc.yaml's deps have to tell."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

TARGET = re.compile(r"^((?:cea|pipeline)(?:\.\w+)+):\w+$")


def closure(module: str, root: Path, wanted: Callable[[str], bool]) -> set[Path]:
    """Files below ``root``, relative to it, that ``module`` reaches by imports, late ones included.

    Registries name their components as ``"module:Name"`` strings and import one only when it is asked for: such a
    module counts where ``wanted`` says so. Package ``__init__`` files are empty and left out.
    """
    seen: set[Path] = set()
    waiting = [_locate(module, root)]
    while waiting:
        file = waiting.pop()
        if file is None or file in seen:
            continue
        seen.add(file)
        tree = ast.parse(file.read_text(encoding="utf-8"))
        modules = [*_imported(tree), *filter(wanted, _named(tree))]
        waiting += [_locate(found, root) for found in modules]
    return {file.relative_to(root) for file in seen}


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in _at_run_time(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _named(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := TARGET.match(node.value)):
            yield match.group(1)


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield child
            yield from _at_run_time(child)


def _locate(module: str, root: Path) -> Path | None:
    """The file of a project module, a plug-in beside the packages included; None for foreign modules and names."""
    file = root.joinpath(*module.split(".")).with_suffix(".py")
    return file if file.is_file() else None
