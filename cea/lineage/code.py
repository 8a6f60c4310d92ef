"""Which code a stage runs, as digests that change when its results may change, and at nothing else.

DVC does not follow Python imports. Stage ``code`` therefore writes, for each stage and recipe, the files that it
imports with a digest of each one's syntax tree: comments, docstrings and layout are not in it.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cea.errors import DataError

NEUTRAL = "CHANGES_NO_RESULT"
"""A module that sets this name to True at its top (progress lines, tracking) is left out with what only it imports."""


@dataclass(frozen=True)
class _Facts:
    """What one Python file says.

    Attributes:
        digest: of its syntax tree.
        neutral: whether it says that it changes no result.
        imports: (level, module) as written; level 0 is absolute, 1 the own package, 2 the one above it.
        files: texts in it that could be names of files beside it.
    """

    digest: str
    neutral: bool
    imports: tuple[tuple[int, str], ...]
    files: tuple[str, ...]


def closure(modules: Iterable[str], root: Path, chosen: Mapping[str, Iterable[str]] | None = None) -> set[Path]:
    """Files below ``root``, relative to it, that ``modules`` reach by imports, late and relative ones included.

    Registries import a component only when it is asked for by name: where the module of a registry is reached that is
    a key of ``chosen``, the modules there count as imported. The ``__init__.py`` of each package on the way runs, too,
    and a file beside a module that a string in it names (a template, a table) is one of its files. Left out: empty
    files, modules that are only imported for type checking, `NEUTRAL` ones, and all that lies outside ``root``.

    Raises:
        DataError: a module that Python cannot parse.
    """
    chosen = chosen or {}
    seen: set[Path] = set()
    waiting = [file for module in modules for file in _locate(module, root)]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        facts = _facts(file)
        if facts.neutral:
            continue
        seen.add(file)
        seen.update(neighbour for name in facts.files if (neighbour := file.with_name(name)).is_file())
        package = file.relative_to(root).parent.parts
        imported = [_absolute(level, module, package) for level, module in facts.imports]
        imported += chosen.get(".".join((*package, file.stem)), ())
        waiting += [path for module in imported for path in _locate(module, root)]
    return {file.relative_to(root) for file in seen if file.stat().st_size}


def listing(files: Iterable[Path], root: Path) -> str:
    """A line ``<digest>  <path>`` per file, ordered by path."""
    return "".join(f"{digest(root / file)}  {file.as_posix()}\n" for file in sorted(files))


def digest(file: Path) -> str:
    """32 hex digits: of a Python file's syntax tree, of any other file's bytes."""
    return _facts(file).digest if file.suffix == ".py" else _sha256(file.read_bytes())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _facts(file: Path) -> _Facts:
    try:
        return _read(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{file}: {error}", expected="valid Python source", remedy="correct the syntax") from None


@cache
def _read(source: bytes) -> _Facts:
    """Parsed once, however many stages import it."""
    tree = ast.parse(source)
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    files = tuple(sorted(text for text in texts if re.fullmatch(r"\w+\.\w+", text) and not text.endswith(".py")))
    neutral, imports = _is_neutral(tree), tuple(dict.fromkeys(_imported(tree)))
    return _Facts(_sha256(repr(_plain(tree)).encode()), neutral, imports, files)


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


def _is_neutral(tree: ast.Module) -> bool:
    """Whether the last value that the module gives `NEUTRAL` at its top is True."""
    said = [
        isinstance(node.value, ast.Constant) and node.value.value is True
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id == NEUTRAL
    ]
    return bool(said) and said[-1]


def _imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(level, module) of every import; a name imported from a package may be a module of it."""
    for node in _at_run_time(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""
            yield from ((node.level, f"{node.module or ''}.{alias.name}".lstrip(".")) for alias in node.names)


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield other
                yield from _at_run_time(other)
        else:
            yield child
            yield from _at_run_time(child)


def _absolute(level: int, module: str, package: tuple[str, ...]) -> str:
    """The full name of what a module in ``package`` imports as ``level`` dots and ``module``."""
    above = package[: len(package) - level + 1] if level else ()
    return ".".join((*above, *filter(None, [module])))


def _locate(module: str, root: Path) -> Iterator[Path]:
    """The files that run when a module of the project is imported, plug-ins included; none for foreign modules."""
    names = module.split(".") if module else []
    for depth in range(1, len(names) + 1):
        package = root.joinpath(*names[:depth])
        for file in (package / "__init__.py", package.with_suffix(".py")):
            if file.is_file() and (depth == len(names) or file.name == "__init__.py"):
                yield file
