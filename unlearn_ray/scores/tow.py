"""Tug of War over replicates: how near three rates are to the retrained model's, together."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.evidence.tug_of_war import called_unseen, tug_of_war
from unlearn_ray.quantities.base import SetName
from unlearn_ray.scores.base import Population, ReplicateBank, ReplicateScore, Scores
from unlearn_ray.scores.by_replicate import by_replicate
from unlearn_ray.scores.resampled import refused

_SETS: tuple[SetName, ...] = ("forget", "retain", "test")


@register("tow")
@schema
class ToW(ReplicateScore):
    """ToW = (1 - |dFA|) (1 - |dRA|) (1 - |dTA|) of each unlearned model and its retrained one.

    Zhao et al., "What Makes Unlearning Hard and What to Do About It", NeurIPS 2024. ToW-MIA has, in
    place of the forget accuracy, the share of forget samples that a confidence attack calls unseen.
    The null is that of every two retrained models.
    """

    columns: ClassVar[dict[str, str]] = {"tow": "ToW", "tow_mia": "ToW-MIA"}

    def measure(self, bank: ReplicateBank) -> Scores:
        """Both, with t-intervals over the replicates that have both models."""
        kinds = bank.unlearned, bank.retrained
        models = min(len(each.correct["forget"]) for each in kinds)
        if models < self.least:
            reason = "one replicate has no interval; train two or more"
            return Scores(refused(self.columns, models, reason))
        if not all(bank.unlearned.correct[part].size for part in _SETS):
            return Scores(refused(self.columns, models, "a set is empty"))
        accuracies = [_accuracies(each) for each in kinds]
        attacked = [_attacked(each, known) for each, known in zip(kinds, accuracies, strict=True)]
        estimates = {}
        for column, rates in zip(self.columns, (accuracies, attacked), strict=True):
            unlearned, retrained = rates
            pairs = tug_of_war(retrained[:, None], retrained[None])
            others = pairs[~np.eye(len(retrained), dtype=bool)]
            values = tug_of_war(unlearned[:models], retrained[:models])
            estimates[column] = by_replicate(values, others)
        return Scores(estimates)


def _accuracies(population: Population) -> Float64[np.ndarray, "models 3"]:
    return np.stack([population.correct[part].mean(axis=1) for part in _SETS], axis=1)


def _attacked(
    population: Population, accuracies: Float64[np.ndarray, "models 3"]
) -> Float64[np.ndarray, "models 3"]:
    confidences = zip(*(population.confidence[part] for part in _SETS), strict=True)
    unseen = np.array([called_unseen(*each) for each in confidences])
    return np.column_stack([unseen, accuracies[:, 1:]])
