"""U-LiRA of encoders: the same attack on the similarity of a sample's views."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.quantities.base import SETS, Quantity
from unlearn_ray.quantities.view_similarity import ViewSimilarity
from unlearn_ray.scores.attacks import attack_columns
from unlearn_ray.scores.u_lira import ULira


@register("u_lira_views")
@schema
class ULiraViews(ULira):
    """U-LiRA with EncoderMI's signal: the mean cosine similarity of a sample's views.

    An encoder has no logits. It maps the views of a sample that it was trained on closer to each
    other (Liu et al., "EncoderMI", CCS 2021). `u_lira` attacks the confidence of the linear probe.

    Attributes:
        views: strong augmentations of each sample.
    """

    columns: ClassVar[dict[str, str]] = {
        **attack_columns("u_lira_views_forget", "U-LiRA of views, forget"),
        **attack_columns("u_lira_views_retain", "U-LiRA of views, retain"),
    }

    views: Annotated[int, Field(ge=2, le=1000)] = 10

    @property
    def quantity(self) -> Quantity:
        """The similarity of every sample's views."""
        return ViewSimilarity(views=self.views, sets=SETS)
