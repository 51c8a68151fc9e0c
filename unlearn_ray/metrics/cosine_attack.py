"""Cosine attack: the views of members are more similar."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.attacks import Scores, ThresholdAttack, attack_columns, tail_columns
from unlearn_ray.metrics.base import Needs, Observed
from unlearn_ray.quantities.base import SetName
from unlearn_ray.quantities.view_similarity import ViewSimilarity

# The cosines of a collapsed encoder differ by rounding only.
DECIMALS = 12


@register("cosine_attack")
@schema
class CosineAttack(ThresholdAttack):
    """Success of an attack on the encoder by the cosine similarity of a sample's views.

    Gradient penalty (2405.07317) reports its success rate before and after unlearning of
    contrastive encoders, without details. So the attack is EncoderMI-T (Liu et al. 2021), as in
    `emia_efficacy`: the mean cosine of backbone features over all pairs of a sample's views, and
    one threshold for all classes.

    Attributes:
        views: strong augmentations of each sample.
    """

    columns: ClassVar[dict[str, str]] = attack_columns("cosine_attack", "Cosine")
    stored_only: ClassVar[frozenset[str]] = tail_columns("cosine_attack")
    by_class: ClassVar[bool] = False

    views: Annotated[int, Field(ge=2, le=1000)] = 10

    @property
    def _similarity(self) -> ViewSimilarity:
        return ViewSimilarity(views=self.views)

    def needs(self) -> Needs:
        """The similarity of every sample's views."""
        return Needs(model=(self._similarity,))

    def scores(self, model: Observed, part: SetName, limit: int) -> Scores:
        """Mean cosine over pairs of views."""
        cosines = model.values(self._similarity, part)[:limit]
        return cosines.numpy().round(DECIMALS)
