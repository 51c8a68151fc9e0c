"""Weights & Biases: a run for each trial."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.loggers.base import Logger


@register("wandb")
@schema
class WeightsAndBiases(Logger):
    """A run for each trial; the key is WANDB_API_KEY's, or that of `wandb login`.

    Attributes:
        project: null is the sweep's name.
        entity: a user or a team; null is the key's own.
    """

    package: ClassVar[str] = "wandb"

    project: str | None = None
    entity: str | None = None
