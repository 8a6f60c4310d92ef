"""Every file, every import and every dotted name that a document or a docstring names is there."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from cea.lineage.spool import WEIGHTS_TAG

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "plugins/README.md", *(ROOT / "docs").rglob("*.md")]
)
IN_GIT = re.compile(r"`((?:cea|pipeline|tests|benchmarks|docs|plugins)/[\w/.-]*)`")
DOTTED = re.compile(r"(?<![\w./-])((?:cea|pipeline|benchmarks)(?:\.[A-Za-z_]\w*)+)(?![\w/-])")
NO_MODULES = {WEIGHTS_TAG, "cea.sources"}
"""Names that begin like a module's: a tag in MLflow, a group of entry points."""
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_paths_and_links_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    for path in IN_GIT.findall(text):
        assert (ROOT / path).exists() or path.startswith("plugins/"), path
    for link in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_imports_import(page: Path):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cea":
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute (of an attribute) of one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        if find_spec_or_none(".".join(parts[:count])):
            thing = importlib.import_module(".".join(parts[:count]))
            for part in parts[count:]:
                if part not in getattr(thing, "model_fields", {}) and not hasattr(thing, part):
                    return False
                thing = getattr(thing, part, None)
            return True
    return False


def find_spec_or_none(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent is no package
        return False


def unresolved(text: str) -> list[str]:
    names = {name for name in DOTTED.findall(text) if not name.endswith((".py", ".md")) and name not in NO_MODULES}
    return sorted(name for name in names if not resolves(name))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_dotted_names_resolve(page: Path):
    assert unresolved(page.read_text(encoding="utf-8")) == []


def test_dotted_names_in_docstrings_resolve():
    named = {
        path.relative_to(ROOT).as_posix(): [
            name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            for name in unresolved(node.value.value)
        ]
        for folder in ("cea", "pipeline", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {path: names for path, names in named.items() if names} == {}


def test_a_name_that_is_gone_is_noticed():
    assert unresolved("see `cea.metrics.psnr.psnr`, `cea.io.imagery` and ``cea.metrics.psnr.gone``.") == [
        "cea.io.imagery",
        "cea.metrics.psnr.gone",
    ]
