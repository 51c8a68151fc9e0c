"""Pair similarity of the retain set."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.pairs import PairSimilarity
from unlearn_ray.quantities.base import SetName


@register("pair_similarity_retain")
@schema
class PairSimilarityRetain(PairSimilarity):
    """Mean cosine similarity of retained images with their captions, times 100 (MUC, Table 6).

    See `PairSimilarity`: a method that preserves utility keeps it near the retrained model's.
    """

    columns: ClassVar[dict[str, str]] = {"pair_similarity_retain": "Pair similarity, retain"}
    in_average_gap: ClassVar[bool] = True
    part: ClassVar[SetName] = "retain"
