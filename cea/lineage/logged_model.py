"""The trained restorer as a model of MLflow's, with signature and input example."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cea.lineage.store import check_address, expect_store, failures, one_line, store_error, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "restorer"
"""Of the logged model; ``models:/<id>``, or a registered name and alias, load it."""

_LOADER = "cea.provenance.served"


def log_restorer(client: MlflowClient, run_id: str, artifact: str) -> None:
    """Log weights that are attached to a run as a model of the run; it takes and gives (N, H, W, 3) uint8 RGB.

    A store that answers and does not take models is said and costs nothing else; what a store raises that does not
    answer goes through.

    Args:
        client: of the store.
        run_id: of the run, which is open.
        artifact: the weights among its artifacts.
    """
    try:
        with TemporaryDirectory() as folder:
            _log(run_id, Path(client.download_artifacts(run_id, artifact, folder)))
    except failures() as error:
        client.get_run(run_id)  # raises where the store is the reason
        logging.getLogger(__name__).info("the model is not logged in MLflow: %s", store_error(error).what)


def _log(run_id: str, weights: Path) -> None:
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    images = Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))])
    mlflow.set_tracking_uri(tracking_uri())
    with mlflow.start_run(run_id=run_id):
        mlflow.pyfunc.log_model(
            name=NAME,
            loader_module=_LOADER,
            data_path=str(weights),
            signature=ModelSignature(images, images),
            input_example=np.full((1, 64, 64, 3), 128, np.uint8),
            pip_requirements=["cea"],
        )


def fetch(uri: str, folder: Path) -> Path:
    """Download the artifact or model at ``uri`` (``models:/...``, ``runs:/...``) into ``folder``; where it lies then.

    Raises:
        ConfigError: the store's address is none.
        DataError: no store, or nothing of that name in it.
    """
    check_address()
    expect_store()
    with one_line():
        import mlflow

        mlflow.set_tracking_uri(tracking_uri())
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
