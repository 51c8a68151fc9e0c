"""Pair similarity of the forget set."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.pairs import PairSimilarity
from unlearn_ray.quantities.base import SetName


@register("pair_similarity_forget")
@schema
class PairSimilarityForget(PairSimilarity):
    """Mean cosine similarity of forgotten images with their captions, times 100 (MUC, Table 6).

    See `PairSimilarity`: a retrained model's is lower than the original's.
    """

    columns: ClassVar[dict[str, str]] = {"pair_similarity_forget": "Pair similarity, forget"}
    in_average_gap: ClassVar[bool] = True
    part: ClassVar[SetName] = "forget"
