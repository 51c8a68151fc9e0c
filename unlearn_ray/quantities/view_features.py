"""View features: the backbone's features of a sample's views."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.quantities.base import Inference, Observation, Quantity, SetName


@register("view_features")
@schema
class ViewFeatures(Quantity):
    """Backbone features of a set's first samples, float32: (samples, views, features).

    5,000 samples x 2 views x 512 features take 20 MB.

    Attributes:
        part: the set.
        views: strong augmentations of each sample.
        samples: at most this many.
    """

    kept: ClassVar[bool] = False

    part: SetName = "forget"
    views: Annotated[int, Field(ge=1, le=1000)] = 2
    samples: PositiveInt

    def observe(self, inference: Inference) -> Observation:
        """The features.

        Raises:
            NonFiniteLoss: a feature is NaN or infinite.
        """
        count = min(self.samples, inference.size(self.part))
        return Observation({self.part: inference.view_features(self.part, self.views, count)})
