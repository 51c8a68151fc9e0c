"""A number of a population of models, and its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Estimate:
    """One number of a population, beside its value where there is nothing to find.

    Attributes:
        value: NaN if it was refused.
        low, high: the ends of its 95 % interval.
        null: its expected value, at the same numbers of models and samples, if the unlearned
            models are distributed as the models they are compared with.
        null_low, null_high: the ends of the 95 % range of the null.
        models: the number of models behind it.
        refused: why there is no value; "" if there is one.
    """

    value: float
    low: float
    high: float
    null: float
    null_low: float
    null_high: float
    models: int
    refused: str = ""


# The numbers of an estimate, in their order.
ESTIMATE = tuple(each.name for each in fields(Estimate))
