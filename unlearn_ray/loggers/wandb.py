"""Weights & Biases: a run for each trial."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.loggers.base import Logger


@register("wandb")
@schema
class WeightsAndBiases(Logger):
    """A run for each trial; the API key comes from WANDB_API_KEY or `wandb login`.

    Attributes:
        project: its name; null is the sweep's.
        entity: a user or a team; null is the key's default.
    """

    package: ClassVar[str] = "wandb"

    project: str | None = None
    entity: str | None = None
