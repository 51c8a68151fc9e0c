"""Three-sample test: is the unlearned model nearer to the retrained or to the original one?"""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.evidence.estimates import Estimate
from unlearn_ray.evidence.three_samples import nearness
from unlearn_ray.scores.base import LEVEL, ReplicateBank, ReplicateScore, Scores
from unlearn_ray.scores.resampled import refused


@register("three_sample")
@schema
class ThreeSample(ReplicateScore):
    """(D(U, O) - D(U, R)) / D(O, R): 1 at the retrained models, -1 at the original ones.

    D is the energy distance of populations of models, each the vector of its confidences on
    the forget set. Unlearned models are nearer to retraining than to doing nothing if the interval
    lies above 0.
    """

    columns: ClassVar[dict[str, str]] = {"three_sample": "Three-sample"}
    least: ClassVar[int] = 4

    def measure(self, bank: ReplicateBank) -> Scores:
        """Refused if the original models cannot be told from the retrained ones."""
        kinds = bank.unlearned, bank.retrained, bank.original
        unlearned, retrained, original = (each.confidence["forget"] for each in kinds)
        models = min(len(unlearned), len(original))
        fewest = min(models, len(retrained))
        if fewest < self.least:
            reason = (
                f"{fewest} models of each kind cannot tell any two kinds apart at the level "
                f"{LEVEL:g}; train {self.least} or more"
            )
            return Scores(refused(self.columns, fewest, reason))
        if unlearned.shape[1] == 0:
            return Scores(refused(self.columns, fewest, "the forget set is empty"))
        found = nearness(unlearned[:models], retrained, original[:models], LEVEL)
        if found.apart_p > LEVEL:
            reason = (
                f"original and retrained models are not told apart (p = {found.apart_p:.2g}); "
                "train more replicates, or choose a forget set that leaves a trace"
            )
            return Scores(refused(self.columns, fewest, reason))
        interval, null = (found.low, found.high), (1.0, found.null_low, found.null_high)
        estimate = Estimate(found.value, *interval, *null, models=fewest)
        return Scores({"three_sample": estimate})
