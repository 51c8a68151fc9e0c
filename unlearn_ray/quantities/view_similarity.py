"""View similarity: how similar a sample's views are to each other."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.quantities.base import Inference, Observation, Quantity, SetName
from unlearn_ray.quantities.similarity import mean_pair_cosine


@register("view_similarity")
@schema
class ViewSimilarity(Quantity):
    """Mean cosine of the backbone features over all pairs of a sample's views, float64.

    Of the retain set, only the first samples: as many as the test set has.

    Attributes:
        views: strong augmentations of each sample.
        sets: the observed sets.
    """

    views: Annotated[int, Field(ge=2, le=1000)] = 10
    sets: tuple[SetName, ...] = ("retain", "forget", "test")

    def observe(self, inference: Inference) -> Observation:
        """One cosine per sample.

        Raises:
            NonFiniteLoss: a feature is NaN or infinite.
        """
        sizes = {part: inference.size(part) for part in self.sets}
        if "retain" in sizes:
            sizes["retain"] = min(sizes["retain"], inference.size("test"))
        return Observation(
            {
                part: mean_pair_cosine(inference.view_features(part, self.views, size))
                for part, size in sizes.items()
            }
        )
