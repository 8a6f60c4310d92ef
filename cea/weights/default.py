"""The weights that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from cea.errors import DataError

NAME = "default.safetensors"
"""The file of weights, beside ``params.yaml``, which it was trained with, and ``MODEL_CARD.md``."""

CARD = "MODEL_CARD.md"
"""The file beside it with training data, results, limits, harm and licence."""


def default_weights() -> Path:
    """The file of the default restorer.

    Raises:
        DataError: it is not there (the package was built without it).
    """
    path = Path(str(files("cea.weights") / NAME))
    if not path.is_file():
        raise DataError(
            f"{path}: no such file",
            expected="the weights that come with cea",
            remedy="install cea again, or pass weights of your own",
        )
    return path


def default_card() -> str:
    """The card of the default restorer: training data, results, limits, licence; Markdown."""
    return default_weights().with_name(CARD).read_text(encoding="utf-8")
