"""Contract of a logger, which shows a sweep's trials while they run."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema


@schema
class Logger(Part):
    """Contract of a logger; `scheduling.loggers` has the Tune callback of each.

    Class attributes:
        package: the package it imports; the extra of the logger's name installs it.
    """

    kind: ClassVar[str] = "logger"
    room: ClassVar[str] = "unlearn_ray.loggers"
    package: ClassVar[str]
