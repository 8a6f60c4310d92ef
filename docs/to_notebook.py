"""docs/notebook.md as docs/notebook.ipynb (``python docs/to_notebook.py``): text as Markdown cells, Python as code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("notebook.md")


def notebook(text: str) -> dict[str, Any]:
    """The page in nbformat 4.5, without outputs."""
    parts = re.split(r"```python\n(.*?)```\n", text, flags=re.DOTALL)  # text and code by turns
    cells = [_cell(number, part.strip("\n")) for number, part in enumerate(parts) if part.strip()]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _cell(number: int, source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}, "source": source.splitlines(keepends=True)}
    if number % 2:
        return {"cell_type": "code", "execution_count": None, "outputs": [], **cell}
    return {"cell_type": "markdown", **cell}


if __name__ == "__main__":
    made = json.dumps(notebook(PAGE.read_text(encoding="utf-8")), indent=1, ensure_ascii=False) + "\n"
    PAGE.with_suffix(".ipynb").write_text(made, encoding="utf-8")
