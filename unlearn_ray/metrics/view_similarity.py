"""View similarity: how similar the views of forget samples and of unseen samples are."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import isin

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Metric, Needs, Observed
from unlearn_ray.quantities import view_similarity as quantities


@register("view_similarity")
@schema
class ViewSimilarity(Metric):
    """Mean cosine similarity between the views of a forget sample, and of an unseen sample.

    Gradient penalty (2405.07317): an overfitted contrastive encoder maps the views of a member
    closer to each other than those of a non-member, and unlearning should close that gap. It is
    the mean score of `cosine_attack`, over the forget set and over the test samples of its
    classes.

    Attributes:
        views: strong augmentations of each sample.
    """

    columns: ClassVar[dict[str, str]] = {
        "view_similarity_forget": "View similarity, forget",
        "view_similarity_test": "View similarity, test",
    }

    views: Annotated[int, Field(ge=2, le=1000)] = 10

    @property
    def _similarity(self) -> quantities.ViewSimilarity:
        return quantities.ViewSimilarity(views=self.views)

    def needs(self) -> Needs:
        """The similarity of every sample's views."""
        return Needs(model=(self._similarity,))

    def measure(self, model: Observed) -> Measurement:
        """Both means.

        Raises:
            DataError: a set is empty, or the test set has none of the forget set's classes.
        """
        require_samples(model, "forget", "test")
        alike = isin(model.labels("test"), model.labels("forget"))
        if not alike.any():
            raise DataError(
                "test set",
                "has no sample of the forget set's classes to compare with",
                "choose another dataset or forget set",
            )
        forget, test = (model.values(self._similarity, part) for part in ("forget", "test"))
        return Measurement(
            {
                "view_similarity_forget": float(forget.mean()),
                "view_similarity_test": float(test[alike].mean()),
            }
        )
