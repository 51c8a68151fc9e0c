"""MLflow: a run for each trial, on a tracking server or in a database."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.loggers.base import Logger


def _without_credentials(uri: str) -> str:
    if "@" in uri:
        raise ValueError("credentials must not be in a URI: MLflow reads them from environment")
    return uri


@register("mlflow")
@schema
class MLflow(Logger):
    """A run for each trial.

    Attributes:
        tracking_uri: the server's, or sqlite:///FILE; null is MLFLOW_TRACKING_URI, or else
            MLflow's default.
        experiment: its name; null is the sweep's.
    """

    package: ClassVar[str] = "mlflow"

    tracking_uri: Annotated[str, AfterValidator(_without_credentials)] | None = None
    experiment: str | None = None
