"""Where weights come from: the package, a file, a folder, or MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from cea.errors import DataError
from cea.extras import require
from cea.lineage.logged_model import fetch
from cea.weights.default import default_weights

_MLFLOW = ("models:", "runs:", "mlflow-artifacts:")


@contextmanager
def weights_file(source: str | Path | None) -> Iterator[tuple[Path, str]]:
    """The file of weights behind ``source`` (see `cea.restoring.restorer.Restorer.load`), and its name for people.

    What is fetched from MLflow is there inside the block only.

    Raises:
        DataError: no such weights.
        ConfigError: an address of MLflow's without MLflow.
    """
    if source is None:
        yield default_weights(), "the default restorer that comes with cea"
    elif str(source).startswith(_MLFLOW):
        with TemporaryDirectory() as folder:
            yield _only_one(_fetched(str(source), Path(folder)), str(source)), str(source)
    elif Path(source).is_dir():
        file = _only_one(Path(source), str(source))
        yield file, str(file)
    else:
        yield Path(source), str(source)


def _only_one(place: Path, name: str) -> Path:
    if place.is_file():
        return place
    files = sorted(place.glob("*.safetensors")) or sorted(place.rglob("*.safetensors"))
    if len(files) != 1:
        raise DataError(
            f"{name}: a folder with {len(files) or 'no'} .safetensors files",
            expected="one file of weights",
            remedy="name the file",
        )
    return files[0]


def _fetched(uri: str, folder: Path) -> Path:
    require("mlflow", uri)
    return fetch(uri, folder)
