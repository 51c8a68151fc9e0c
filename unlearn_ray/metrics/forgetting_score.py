"""Forgetting score (FS): how much unlearning lowers the similarity of a forget image's views."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Metric, Needs, Observed
from unlearn_ray.quantities.view_similarity import ViewSimilarity

TWO_VIEWS = ViewSimilarity(views=2, sets=("forget",))


@register("forgetting_score")
@schema
class ForgettingScore(Metric):
    """Positive-pair similarity before minus after unlearning (MUC, equation 2: FS).

    The similarity is the cosine, without temperature, of the backbone features of two strong
    augmentations of one image, the same two for original and measured model. The columns are
    the mean and the standard deviation over the forget set (MUC, section 3.4, reports 0.025
    and 0.081 for a retrained MoCo), so the score of few samples is unreliable. The deviation of
    one sample is 0.
    """

    columns: ClassVar[dict[str, str]] = {
        "forgetting_score": "FS",
        "forgetting_score_std": "FS std",
    }
    by_default: ClassVar[bool] = True

    def needs(self) -> Needs:
        """The similarity of two views of every forgotten sample, before and after."""
        return Needs(model=(TWO_VIEWS,), original=(TWO_VIEWS,))

    def measure(self, model: Observed) -> Measurement:
        """Mean and population standard deviation over the forget set.

        Raises:
            DataError: the forget set is empty.
        """
        require_samples(model, "forget")
        scores = model.original.values(TWO_VIEWS, "forget") - model.values(TWO_VIEWS, "forget")
        return Measurement(
            {
                "forgetting_score": float(scores.mean()),
                "forgetting_score_std": float(scores.std(correction=0)),
            }
        )
