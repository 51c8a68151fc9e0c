"""Learned attack: a classifier on all that a model's output tells of a labelled sample."""

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
    """Success of an attack that is learnt from all of a model's outputs and the true class.

    Shokri et al. (IEEE S&P 2017) learn an attack from a model's output vector; the black-box
    attack of Nasr et al. (IEEE S&P 2019) sees the loss and the true class as well. As in
    `member_prediction_rate` there are no shadow models, as whoever verifies unlearning has the
    model and its data, and the vector is sorted. The attack sees, of each sample:
        - the logarithms of its probabilities, the largest first;
        - whether it is classified correctly;
        - the true class's probability p, and log p, which is minus the loss;
        - log p - log(sum of the others), which unlike p does not saturate (Carlini et al. 2022);
        - entropy and modified entropy.
    Each is standardised by what is learnt from. No logarithm is taken of less than 1e-30.

    The learner is a logistic regression (C = 1), both sides weighing the same: its optimum is
    unique, where those of a network or a support vector machine with probabilities hang on seeds
    and on when training ends, and its score is continuous, where trees' many ties would blunt
    the low false-positive rates. What is not linear in p is in the features.

    Of a model that is no classifier, the outputs are those of its linear probe, which learnt
    from retain samples alone; see `cosine_attack` for these.
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
    """What the attack sees of each sample of a set."""
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
