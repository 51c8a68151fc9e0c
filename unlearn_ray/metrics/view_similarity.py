"""View similarity: how close views of members and of non-members lie to each other."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import isin

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Evidence, Measurement, Metric
from unlearn_ray.metrics.similarity import mean_pair_cosine


@register("view_similarity")
@schema
class ViewSimilarity(Metric):
    """Mean cosine similarity between the views of a forgotten, and of an unseen, sample.

    Gradient penalty (2405.07317): an overfitted contrastive encoder maps the views of a member
    closer to each other than those of a non-member, and unlearning is to close that gap. It is
    the mean of what `cosine_attack` sees, over the forget set and over the test samples of
    its classes.

    Attributes:
        views: strong augmentations of each sample.
    """

    columns: ClassVar[dict[str, str]] = {
        "view_similarity_forget": "View similarity, forget",
        "view_similarity_test": "View similarity, test",
    }

    views: Annotated[int, Field(ge=2, le=1000)] = 10

    def measure(self, evidence: Evidence) -> Measurement:
        """Both means.

        Raises:
            DataError: a set is empty, or the test set has none of the forget set's classes.
        """
        require_samples(evidence, "forget", "test")
        alike = isin(evidence.labels("test"), evidence.labels("forget"))
        if not alike.any():
            raise DataError(
                "test set",
                "has no sample of the forget set's classes to compare with",
                "choose another dataset or forget set",
            )
        forget, test = (
            mean_pair_cosine(evidence.view_features(part, self.views, evidence.size(part)))
            for part in ("forget", "test")
        )
        return Measurement(
            {
                "view_similarity_forget": float(forget.mean()),
                "view_similarity_test": float(test[alike].mean()),
            }
        )
