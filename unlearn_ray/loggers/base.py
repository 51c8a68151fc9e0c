"""Contract of a logger: where a sweep's trials are shown while it runs, beside its own table."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema


@schema
class Logger(Part):
    """Contract of a logger; `scheduling.loggers` holds Tune's callback of each.

    Class attributes:
        package: what it needs, as it is imported; the extra of the logger's name installs it.
    """

    kind: ClassVar[str] = "logger"
    room: ClassVar[str] = "unlearn_ray.loggers"
    package: ClassVar[str]
