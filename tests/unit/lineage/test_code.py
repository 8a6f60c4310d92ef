"""Listings of code change when what a stage computes may change, and at nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from cea.errors import DataError
from cea.lineage.code import closure, digest, listing

SOURCE = '''"""A module."""

# a comment
RATE = 3


def f(x: int) -> int:
    """What it does."""
    return x + RATE  # another
'''


def write(folder: Path, **sources: str) -> Path:
    package = folder / "cea"
    package.mkdir(exist_ok=True)
    for name, source in sources.items():
        (package / f"{name}.py").write_text(source)
    return folder


def test_imports_follow_late_and_named_modules_but_not_type_checking(tmp_path: Path):
    write(
        tmp_path,
        a="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cea.types_only\nfrom cea import b\n",
        b="def late():\n    from cea.c import thing\nNAMES = {'x': 'cea.named:X', 'y': 'cea.unwanted:Y'}\n",
        c="import os\n",
        named="import cea.d\n",
        d="X = 1\n",
        unwanted="X = 1\n",
        types_only="X = 1\n",
    )
    found = closure(["cea.a"], tmp_path, {"cea.b": {"cea.named"}})
    assert {path.stem for path in found} == {"a", "b", "c", "d", "named"}


def test_modules_that_change_no_result_are_left_out_with_what_only_they_import(tmp_path: Path):
    write(
        tmp_path,
        a="import cea.bar\nimport cea.both\n",
        bar="CHANGES_NO_RESULT = True\nimport cea.only\nimport cea.both\n",
        only="X = 1\n",
        both="X = 1\n",
    )
    assert {path.stem for path in closure(["cea.a"], tmp_path)} == {"a", "both"}


@pytest.mark.parametrize(
    ("said", "left_out"),
    [
        ("CHANGES_NO_RESULT = True", True),
        ("CHANGES_NO_RESULT: bool = True", True),
        ("CHANGES_NO_RESULT = False", False),
        ("CHANGES_NO_RESULT = 0", False),
        ("if 1:\n    CHANGES_NO_RESULT = True", False),
    ],
)
def test_only_the_word_true_leaves_a_module_out(tmp_path: Path, said: str, left_out: bool):
    write(tmp_path, a="import cea.bar\n", bar=said + "\n")
    assert ({path.stem for path in closure(["cea.a"], tmp_path)} == {"a"}) == left_out


def test_a_component_given_by_its_address_counts_where_its_registry_does(tmp_path: Path):
    """``module:Class`` in params.yaml stands in no source file."""
    write(tmp_path, a="import cea.registry\n", b="X = 1\n", registry="NAMES = {}\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/net.py").write_text("from mine.parts import X\n")
    (tmp_path / "mine/parts.py").write_text("X = 1\n")
    chosen = {"cea.registry": {"mine.net", "torch.nn"}}
    assert {path.stem for path in closure(["cea.a"], tmp_path, chosen)} == {"a", "registry", "net", "parts"}
    assert {path.stem for path in closure(["cea.b"], tmp_path, chosen)} == {"b"}


def test_relative_imports_and_packages_on_the_way_are_followed(tmp_path: Path):
    inner = tmp_path / "plugins/inner"
    inner.mkdir(parents=True)
    for name, source in {
        "fog.py": "from .shared import A\nfrom . import tables\nfrom .inner.deep import B\n",
        "shared.py": "A = 1\n",
        "tables.py": "T = 1\n",
        "inner/__init__.py": "from ..noted import N\n",
        "inner/deep.py": "from ..other import O\nB = 1\n",
        "noted.py": "N = 1\n",
        "other.py": "O = 1\n",
        "unrelated.py": "U = 1\n",
    }.items():
        (tmp_path / "plugins" / name).write_text(source)
    found = {path.relative_to("plugins").as_posix() for path in closure(["plugins.fog"], tmp_path)}
    assert found == {"fog.py", "shared.py", "tables.py", "inner/__init__.py", "inner/deep.py", "noted.py", "other.py"}


def test_the_other_branch_of_type_checking_is_followed(tmp_path: Path):
    write(tmp_path, a="if TYPE_CHECKING:\n    import cea.b\nelse:\n    import cea.c\n", b="X = 1\n", c="X = 1\n")
    assert {path.stem for path in closure(["cea.a"], tmp_path)} == {"a", "c"}


def test_files_beside_a_module_that_it_names_are_its_own(tmp_path: Path):
    write(tmp_path, a="T = open('table.yaml'), 'absent.html', 'b.py'\n", b="X = 1\n")
    (tmp_path / "cea/table.yaml").write_text("x: 1\n")
    assert {path.name for path in closure(["cea.a"], tmp_path)} == {"a.py", "table.yaml"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# words"),
        ("  # another", ""),
        ('"""What it does."""', '"""Other words."""'),
        ('    """What it does."""\n', ""),
        ('"""A module."""\n\n', ""),
        ("x + RATE", "(x + RATE)"),
        ("\n\n\ndef", "\n\ndef"),
        ("def f(x: int) -> int:", "def f(\n    x: int,\n) -> int:"),
    ],
)
def test_words_and_layout_are_not_in_a_digest(tmp_path: Path, old: str, new: str):
    before, after = tmp_path / "before.py", tmp_path / "after.py"
    before.write_text(SOURCE)
    assert old in SOURCE
    after.write_text(SOURCE.replace(old, new, 1))
    assert digest(before) == digest(after)


@pytest.mark.parametrize(("old", "new"), [("= 3", "= 4"), ("x + RATE", "x - RATE"), ("= 3", "= 3.0"), ("= 3", "= '3'")])
def test_what_is_computed_is_in_a_digest(tmp_path: Path, old: str, new: str):
    before, after = tmp_path / "before.py", tmp_path / "after.py"
    before.write_text(SOURCE)
    after.write_text(SOURCE.replace(old, new, 1))
    assert digest(before) != digest(after)


def test_the_digest_does_not_depend_on_the_version_of_python(tmp_path: Path):
    """Fixed once: newer versions of Python have more fields in their trees, all of them empty here."""
    (tmp_path / "a.py").write_text(SOURCE)
    assert digest(tmp_path / "a.py") == "2da2c71e77ebd8ffe507cb82503e265a"


def test_a_listing_has_a_line_per_file(tmp_path: Path):
    write(tmp_path, b="X = 1\n", a="X = 2\n")
    lines = listing({Path("cea/b.py"), Path("cea/a.py")}, tmp_path).splitlines()
    assert [line.split("  ")[1] for line in lines] == ["cea/a.py", "cea/b.py"]
    assert all(len(line.split("  ")[0]) == 32 for line in lines)


def test_what_is_no_python_is_named(tmp_path: Path):
    write(tmp_path, a="def f(:\n")
    with pytest.raises(DataError, match=r"cea/a\.py"):
        closure(["cea.a"], tmp_path)
