"""Entropy attack: outputs for members are more confident."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from jaxtyping import Float

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.attacks import Scores, ThresholdAttack, attack_columns, tail_columns
from unlearn_ray.metrics.base import Observed
from unlearn_ray.quantities.base import SetName

# Lower bound of logarithms' arguments, as in Song and Mittal's code.
SMALLEST = 1e-30


@register("entropy_attack")
@schema
class EntropyAttack(ThresholdAttack):
    """Success of an attack on the entropy of a model's output.

    Song and Mittal (USENIX Security 2021), after Shokri et al. (2017):
    I(-sum_i F(x)_i log F(x)_i <= tau_y), with a threshold per class, which is the only use of the
    true class.

    A model that is not a classifier is attacked through its linear probe, which was trained only
    on retain samples; `cosine_attack` attacks its encoder.
    """

    columns: ClassVar[dict[str, str]] = attack_columns("entropy_attack", "Entropy")
    stored_only: ClassVar[frozenset[str]] = tail_columns("entropy_attack")
    needs_classes: ClassVar[bool] = True

    def scores(self, model: Observed, part: SetName, limit: int) -> Scores:
        """Minus the entropy."""
        return -entropy(outputs(model, part)[:limit])


def outputs(model: Observed, part: SetName) -> Float[np.ndarray, "n c"]:
    """Each sample's probabilities, in float64."""
    return np.asarray(model.probabilities(part).double().numpy())


def entropy(probabilities: Float[np.ndarray, "n c"]) -> Scores:
    """-sum p log p of each row."""
    return np.asarray(-(probabilities * safe_log(probabilities)).sum(axis=1))


def safe_log(values: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Logarithm of values in [0, 1], finite at 0."""
    return np.asarray(np.log(np.maximum(values, SMALLEST)))
