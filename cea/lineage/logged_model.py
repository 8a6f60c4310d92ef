"""The trained restorer as a model of MLflow's, with signature and input example."""

from __future__ import annotations

import logging
from pathlib import Path

from cea.lineage.store import check_address, expect_store, failures, one_line, store_error, tracking_uri

CHANGES_NO_RESULT = True

NAME = "restorer"
"""Of the logged model; ``models:/<id>``, or a registered name and alias, load it."""

_LOADER = "cea.provenance.served"


def log_restorer(run_id: str, weights: Path) -> None:
    """Log ``weights`` as a model of the run; it takes and gives (N, H, W, 3) uint8 RGB.

    A store that does not take it is said and costs nothing else: the weights themselves are attached to the run.
    """
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    images = Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))])
    mlflow.set_tracking_uri(tracking_uri())
    try:
        with mlflow.start_run(run_id=run_id):
            mlflow.pyfunc.log_model(
                name=NAME,
                loader_module=_LOADER,
                data_path=str(weights),
                signature=ModelSignature(images, images),
                input_example=np.full((1, 64, 64, 3), 128, np.uint8),
                pip_requirements=["cea"],
            )
    except failures() as error:
        logging.getLogger(__name__).info("the model is not logged in MLflow: %s", store_error(error).what)


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
