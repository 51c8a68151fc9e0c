"""IAM: how completely samples were forgotten, between the original and the retrained model."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.evidence.iam import completeness, signal
from unlearn_ray.scores.base import ReplicateBank, ReplicateScore, Scores
from unlearn_ray.scores.by_replicate import by_replicate
from unlearn_ray.scores.resampled import refused


@register("iam")
@schema
class IAM(ReplicateScore):
    """Mean completeness over the forget samples: near 0 if nothing was forgotten.

    "Towards Lifecycle Unlearning Commitment Management: Measuring Sample-level Unlearning
    Completeness", USENIX Security 2025. The retrained models are the shadow models. The null is
    that of each retrained model beside the others.
    """

    columns: ClassVar[dict[str, str]] = {"iam": "IAM"}

    def measure(self, bank: ReplicateBank) -> Scores:
        """The mean over replicates; the array `iam` has each sample's mean over replicates."""
        kinds = bank.unlearned, bank.original, bank.retrained
        unlearned, original, retrained = (signal(each.confidence["forget"]) for each in kinds)
        models = min(map(len, (unlearned, original, retrained)))
        if models < self.least:
            reason = "one replicate has no interval; train two or more"
            return Scores(refused(self.columns, models, reason))
        if unlearned.shape[1] == 0:
            return Scores(refused(self.columns, models, "the forget set is empty"))
        found = np.stack(
            [completeness(*each, retrained) for each in zip(unlearned, original, strict=True)]
        )
        nulls = [
            completeness(retrained[held], original[held], np.delete(retrained, held, axis=0))
            for held in range(models)
        ]
        estimate = by_replicate(found.mean(axis=1), np.mean(nulls, axis=1))
        return Scores({"iam": estimate}, {"iam": found.mean(axis=0)})
