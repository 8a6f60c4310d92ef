"""What is not in a plain installation: which library belongs to which extra.

The name ``cea`` on PyPI is another project's, so no message may send anybody there.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

from cea.errors import ConfigError

_PIPELINE = (
    *("lightning", "dvc", "mlflow", "sqlalchemy", "alembic", "polars", "skimage", "sklearn", "scipy"),
    *("joblib", "filelock", "matplotlib", "jinja2"),
)

EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "albumentations": "albumentations",
        "onnx": "onnx",
        "onnxruntime": "onnx",
        "onnxscript": "onnx",
        "huggingface_hub": "hub",
        "nicegui": "app",
        "ray": "ray",
        "s3fs": "s3",
        "fsspec": "s3",
        "aiohttp": "s3",
        "torchvision": "perceptual",
        "torchmetrics": "perceptual",
    }
    | dict.fromkeys(_PIPELINE, "pipeline")
)
"""Name of a library as it is imported -> the extra of this package that installs it."""


def installing(extra: str) -> str:
    """How to get an extra: where, and the command."""
    return f"in cea's clone: pip install '.[{extra}]'"


def missing(module: str, what: str) -> ConfigError:
    """The error for ``what`` that needs the absent ``module``."""
    extra = EXTRAS.get(module.partition(".")[0])
    if extra is None:
        return ConfigError(
            f"{what} needs {module}, which is not installed",
            expected="a complete installation",
            remedy="install cea again",
        )
    return ConfigError(
        f"{what} needs {module.partition('.')[0]}, which is not installed",
        expected=f"the extra {extra!r}",
        remedy=f"run {installing(extra)}",
    )


def require(module: str, what: str) -> None:
    """Refuse ``what`` where ``module`` is not installed.

    Raises:
        ConfigError: naming the extra that has it.
    """
    if find_spec(module) is None:
        raise missing(module, what)
