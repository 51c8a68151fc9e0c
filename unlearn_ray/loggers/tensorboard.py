"""TensorBoard: event files in a folder on the driver's machine."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.loggers.base import Logger


@register("tensorboard")
@schema
class TensorBoard(Logger):
    """Event files, a folder for each trial.

    Attributes:
        folder: holds a folder for each sweep.
    """

    package: ClassVar[str] = "tensorboardX"

    folder: str = "./runs"
