"""Learned attack: a membership classifier on a model's whole output and the true class."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from jaxtyping import Float

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.attacks import (
    Attack,
    AttackOutput,
    AttackSplit,
    attack_columns,
    logistic_regression,
    tail_columns,
)
from unlearn_ray.metrics.base import Observed
from unlearn_ray.metrics.correctness_attack import correct
from unlearn_ray.metrics.entropy_attack import entropy, outputs, safe_log
from unlearn_ray.metrics.modified_entropy_attack import modified_entropy
from unlearn_ray.quantities.base import SetName


@register("learned_attack")
@schema
class LearnedAttack(Attack):
    """Success of an attack that is trained on a model's whole output and the true class.

    Shokri et al. (IEEE S&P 2017) train an attack on a model's output vector; the black-box
    attack of Nasr et al. (IEEE S&P 2019) also sees the loss and the true class. As in
    `member_prediction_rate`, there are no shadow models, since whoever verifies unlearning has
    the model and its data, and the vector is sorted. The features of each sample are:
        - the logarithms of its probabilities, in descending order;
        - whether it is classified correctly;
        - the true class's probability p, and log p, which is minus the loss;
        - log p - log(sum of the others), which unlike p does not saturate (Carlini et al. 2022);
        - entropy and modified entropy.
    They are standardised on the training samples. Arguments of logarithms are at least 1e-30.

    The classifier is a logistic regression (C = 1) with balanced class weights: its optimum is
    unique, whereas networks and support vector machines with probabilities depend on seeds and
    stopping, and its score is continuous, whereas trees have many ties, which blur low
    false-positive rates. The features provide the nonlinearity.

    A model that is not a classifier is attacked through its linear probe, which was trained only
    on retain samples; `cosine_attack` attacks its encoder.
    """

    columns: ClassVar[dict[str, str]] = attack_columns("learned_attack", "Learned")
    stored_only: ClassVar[frozenset[str]] = tail_columns("learned_attack")
    needs_classes: ClassVar[bool] = True

    def attack(self, model: Observed, split: AttackSplit) -> tuple[AttackOutput, AttackOutput]:
        """Log odds of being a member; members lie at or above 0."""
        from sklearn.preprocessing import StandardScaler

        test = observations(model, "test")
        members = observations(model, "retain")[: split.members]
        attack = logistic_regression(members, test[split.learnt], StandardScaler())
        forget = attack.decision_function(observations(model, "forget"))
        tried = attack.decision_function(test[split.tried])
        return AttackOutput(forget, forget >= 0), AttackOutput(tried, tried >= 0)


def observations(model: Observed, part: SetName) -> Float[np.ndarray, "n f"]:
    """The attack's features of each sample of a set."""
    probabilities = outputs(model, part)
    labels = model.labels(part).numpy()
    rows = np.arange(len(labels))
    true = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = 0
    return np.column_stack(
        [
            safe_log(np.sort(probabilities, axis=1)[:, ::-1]),
            correct(model, part),
            true,
            safe_log(true),
            safe_log(true) - safe_log(others.sum(axis=1)),
            entropy(probabilities),
            modified_entropy(probabilities, labels),
        ]
    )
