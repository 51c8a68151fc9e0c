"""Modified entropy attack: an entropy that takes the true class into account."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.attacks import Scores, ThresholdAttack, attack_columns, tail_columns
from unlearn_ray.metrics.base import Observed
from unlearn_ray.metrics.entropy_attack import outputs, safe_log
from unlearn_ray.quantities.base import SetName


@register("modified_entropy_attack")
@schema
class ModifiedEntropyAttack(ThresholdAttack):
    """Success of an attack on the modified entropy of a model's output.

    Song and Mittal (USENIX Security 2021), equation 8: I(Mentr(F(x), y) <= tau_y), with a
    threshold per class and

        Mentr(F(x), y) = -(1 - F(x)_y) log F(x)_y - sum_{i != y} F(x)_i log(1 - F(x)_i),

    which is 0 for a confident correct output and unbounded for a confident wrong one (here up to
    69 per term, as arguments of logarithms are at least 1e-30). Unlearning codes circulate a
    variant of this name with log F(x)_i in the second term.

    A model that is not a classifier is attacked through its linear probe, which was trained only
    on retain samples; `cosine_attack` attacks its encoder.
    """

    columns: ClassVar[dict[str, str]] = attack_columns("modified_entropy_attack", "Mod. entropy")
    stored_only: ClassVar[frozenset[str]] = tail_columns("modified_entropy_attack")
    needs_classes: ClassVar[bool] = True

    def scores(self, model: Observed, part: SetName, limit: int) -> Scores:
        """Minus the modified entropy."""
        labels = model.labels(part).numpy()
        return -modified_entropy(outputs(model, part)[:limit], labels[:limit])


def modified_entropy(
    probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]
) -> Scores:
    """Mentr of each row."""
    terms = probabilities * safe_log(1 - probabilities)
    rows = np.arange(len(labels))
    true = probabilities[rows, labels]
    terms[rows, labels] = (1 - true) * safe_log(true)
    return np.asarray(-terms.sum(axis=1))
