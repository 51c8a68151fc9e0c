"""Forget samples drawn at random."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Int64
from pydantic import Field, model_validator

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.data.base import DatasetInfo, ForgetSet

MUC_FRACTION = 0.1


@register("random")
@schema
class Random(ForgetSet):
    """A random fraction or count of the samples that the original was trained on.

    As in MUC, these are the first in the seed's permuted order, after the validation set.

    Attributes:
        fraction: of the training samples, rounded down; MUC's 0.1 if neither is given.
        count: number of samples, instead of a fraction.
    """

    reads_labels: ClassVar[bool] = False

    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    count: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Random:
        if self.fraction is not None and self.count is not None:
            raise ValueError("give fraction or count, not both")
        if self.fraction is None and self.count is None:
            # Explicit, so that the default and the same fraction as given have one key.
            object.__setattr__(self, "fraction", MUC_FRACTION)
        return self

    def size(self, trained_on: int) -> int:
        """Number of samples to forget."""
        if self.count is not None:
            return self.count
        assert self.fraction is not None
        return int(self.fraction * trained_on)

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """At least one sample must be forgotten and one retained."""
        trained_on = info.train_size - validation_size
        size = self.size(trained_on)
        given = f"fraction = {self.fraction}" if self.count is None else f"count = {self.count}"
        if size == 0:
            raise DataError(
                given, f"is less than one sample out of {trained_on:,}", "give a larger fraction"
            )
        if size >= trained_on:
            raise DataError(
                given,
                f"leaves nothing to retain: models are trained on {trained_on:,} samples",
                f"forget fewer than {trained_on:,}",
            )

    def select(
        self, order: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " train"]
    ) -> Int64[np.ndarray, " m"]:
        """The first of the permuted order."""
        return order[: self.size(len(order))]
