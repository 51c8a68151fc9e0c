"""The score of the NeurIPS 2023 unlearning competition: forgetting quality times utility."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.evidence.forgetting_quality import epsilons, points
from unlearn_ray.evidence.resampling import Rows, evenly
from unlearn_ray.scores.base import ReplicateBank, ReplicateScore, Scores
from unlearn_ray.scores.resampled import refused, resampled

# Samples from which nulls and intervals are computed.
_RESAMPLED = 300


@register("neurips_f")
@schema
class NeurIPSF(ReplicateScore):
    """F = mean over forget samples of points; final score F x RA_u / RA_r x TA_u / TA_r.

    Triantafillou et al., "Are We Making Progress in Unlearning?", 2024. RA and TA are the mean
    accuracies on the retain and the test set. F is about 0.18 at any number of models between
    populations that are alike, not 1: the best of many thresholds always finds something.
    """

    columns: ClassVar[dict[str, str]] = {
        "neurips_f": "NeurIPS'23 F",
        "neurips_score": "NeurIPS'23 score",
    }
    least: ClassVar[int] = 8

    def measure(self, bank: ReplicateBank) -> Scores:
        """Both; the array `neurips_epsilon` has the epsilon of each forget sample.

        With unequal numbers of models, the first of the more numerous kind are used.
        """
        kinds = bank.unlearned, bank.retrained
        models = min(len(each.confidence["forget"]) for each in kinds)
        if models < self.least:
            reason = f"{models} models of each kind are too few to rate; train {self.least} or more"
            return Scores(refused(self.columns, models, reason))
        if not all(bank.unlearned.correct[part].size for part in ("forget", "retain", "test")):
            return Scores(refused(self.columns, models, "a set is empty"))
        pooled = np.concatenate([each.confidence["forget"][:models] for each in kinds])
        accuracies = [
            np.concatenate([each.correct[part][:models].mean(axis=1) for each in kinds])
            for part in ("retain", "test")
        ]

        if not all(each[models:].any() for each in accuracies):
            return Scores(refused(self.columns, models, "the retrained models are never right"))

        def scored(f: float, first: Rows, second: Rows) -> Float64[np.ndarray, " 2"]:
            ratios = [each[first].mean() / each[second].mean() for each in accuracies]
            return np.array([f, f * np.prod(ratios)])

        kept = pooled[:, evenly(pooled.shape[1], _RESAMPLED)]

        def measured(first: Rows, second: Rows) -> Float64[np.ndarray, " 2"]:
            f = points(epsilons(kept[first], kept[second]), len(first)).mean()
            return scored(float(f), first, second)

        epsilon = epsilons(pooled[:models], pooled[models:])
        rows = np.arange(2 * models)
        value = scored(float(points(epsilon, models).mean()), rows[:models], rows[models:])
        estimates = resampled(self.columns, value, measured, (models, models), (0.0, np.inf))
        return Scores(estimates, {"neurips_epsilon": epsilon})
