"""Correctness attack: correctly classified samples are predicted as members."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.attacks import (
    Attack,
    AttackOutput,
    AttackSplit,
    Scores,
    attack_columns,
    tail_columns,
)
from unlearn_ray.metrics.base import Observed
from unlearn_ray.quantities.base import SetName


@register("correctness_attack")
@schema
class CorrectnessAttack(Attack):
    """Success of predicting membership if, and only if, a sample is classified correctly.

    Song and Mittal (USENIX Security 2021), after Yeom et al. (2018): I(argmax F(x) = y). Nothing
    is trained, and the ROC curve has one inner point: the AUC equals the success rate. The first
    class wins ties.
    """

    columns: ClassVar[dict[str, str]] = attack_columns("correctness_attack", "Correctness")
    stored_only: ClassVar[frozenset[str]] = tail_columns("correctness_attack")
    needs_classes: ClassVar[bool] = True

    def attack(self, model: Observed, split: AttackSplit) -> tuple[AttackOutput, AttackOutput]:
        """Whether each sample is classified correctly."""
        forget, test = correct(model, "forget"), correct(model, "test")[split.tried]
        return AttackOutput(forget, forget == 1), AttackOutput(test, test == 1)


def correct(model: Observed, part: SetName) -> Scores:
    """1 for each sample that is classified correctly, else 0."""
    right = model.probabilities(part).argmax(dim=1) == model.labels(part)
    return np.asarray(right.double().numpy())
