"""Pair similarity of the test set."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.pairs import PairSimilarity
from unlearn_ray.quantities.base import SetName


@register("pair_similarity_test")
@schema
class PairSimilarityOnTest(PairSimilarity):
    """Mean cosine similarity of test images with their captions, times 100.

    See `PairSimilarity`. MUC has no such column, so it counts in no average gap.
    """

    columns: ClassVar[dict[str, str]] = {"pair_similarity_test": "Pair similarity, test"}
    part: ClassVar[SetName] = "test"
