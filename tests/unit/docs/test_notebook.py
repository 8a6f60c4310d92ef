"""docs/notebook.ipynb is docs/notebook.md, and runs from top to bottom."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
from pathlib import Path

import pytest


def cells(root: Path) -> dict:
    return json.loads((root / "docs/notebook.ipynb").read_text(encoding="utf-8"))


def test_it_is_the_page(root: Path):
    spec = importlib.util.spec_from_file_location("to_notebook", root / "docs/to_notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.notebook(module.PAGE.read_text(encoding="utf-8")) == cells(root), "run: python docs/to_notebook.py"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_cell_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    told, space = io.StringIO(), {"__name__": "__main__"}
    code = ["".join(cell["source"]) for cell in cells(root)["cells"] if cell["cell_type"] == "code"]
    assert len(code) == 6
    with contextlib.redirect_stdout(told):
        for number, source in enumerate(code):
            exec(compile(source, f"cell {number}", "exec"), space)
    before, after = map(float, re.search(r"PSNR ([\d.]+) dB -> ([\d.]+) dB", told.getvalue()).groups())
    assert after > before
    losses = [float(text) for text in re.findall(r"epoch \d: loss ([\d.]+)", told.getvalue())]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
