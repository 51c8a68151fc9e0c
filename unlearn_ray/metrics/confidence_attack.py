"""Confidence attack: members have a higher probability of the true class."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.attacks import Scores, ThresholdAttack, attack_columns, tail_columns
from unlearn_ray.metrics.base import Observed
from unlearn_ray.metrics.cmia_efficacy import true_class_confidence
from unlearn_ray.quantities.base import SetName


@register("confidence_attack")
@schema
class ConfidenceAttack(ThresholdAttack):
    """Success of an attack on the probability of the true class.

    Song and Mittal (USENIX Security 2021), after Yeom et al. (2018): I(F(x)_y >= tau_y), with a
    threshold per class. `cmia_efficacy` sees the same number.

    A model that is not a classifier is attacked through its linear probe, which was trained only
    on retain samples; `cosine_attack` attacks its encoder.
    """

    columns: ClassVar[dict[str, str]] = attack_columns("confidence_attack", "Confidence")
    stored_only: ClassVar[frozenset[str]] = tail_columns("confidence_attack")
    needs_classes: ClassVar[bool] = True

    def scores(self, model: Observed, part: SetName, limit: int) -> Scores:
        """F(x)_y."""
        return true_class_confidence(model, part)[:limit]
