"""Pair similarity: how similar an image is to its captions."""

from __future__ import annotations

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.quantities.base import Inference, Observation, Quantity, SetName
from unlearn_ray.quantities.similarity import pair_cosines


@register("pair_similarity")
@schema
class PairSimilarity(Quantity):
    """The mean cosine of each image of a set with its captions, float64.

    Attributes:
        part: the set.
    """

    part: SetName

    def observe(self, inference: Inference) -> Observation:
        """One cosine per image.

        Raises:
            NonFiniteLoss: an embedding is NaN or infinite.
        """
        pairs = inference.pairs(self.part, inference.size(self.part))
        return Observation({self.part: pair_cosines(pairs)})
