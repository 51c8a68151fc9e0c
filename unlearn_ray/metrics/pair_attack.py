"""Pair attack: members are more similar to their captions."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.attacks import Scores, ThresholdAttack, attack_columns, tail_columns
from unlearn_ray.metrics.base import Needs, Observed
from unlearn_ray.metrics.cosine_attack import DECIMALS
from unlearn_ray.quantities.base import SetName
from unlearn_ray.quantities.pair_similarity import PairSimilarity


@register("pair_attack")
@schema
class PairAttack(ThresholdAttack):
    """Success of an attack on the similarity of images with their captions.

    CLIP's training pulls its pairs together, so members lie at or above a threshold of the
    cosine (the mean over an image's captions): `cosine_attack` for two towers. It is the
    baseline of Ko et al., "Practical Membership Inference Attacks Against Large-Scale
    Multi-Modal Models" (2310.00108), ICCV 2023.
    """

    columns: ClassVar[dict[str, str]] = attack_columns("pair_attack", "Pair")
    stored_only: ClassVar[frozenset[str]] = tail_columns("pair_attack")
    needs_captions: ClassVar[bool] = True
    by_class: ClassVar[bool] = False

    def needs(self) -> Needs:
        """The similarity of every pair."""
        sets: tuple[SetName, ...] = ("retain", "forget", "test")
        return Needs(model=tuple(PairSimilarity(part=part) for part in sets))

    def scores(self, model: Observed, part: SetName, limit: int) -> Scores:
        """Mean cosine over an image's captions."""
        return model.values(PairSimilarity(part=part), part)[:limit].numpy().round(DECIMALS)
