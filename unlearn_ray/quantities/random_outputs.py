"""Random outputs: the logits of a model that has learned nothing."""

from __future__ import annotations

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.quantities.base import Inference, Observation, Quantity, SetName


@register("random_outputs")
@schema
class RandomOutputs(Quantity):
    """Logits of a randomly initialised model of the observed model's architecture, float32.

    They are the same for every model of a seed. An encoder's features are classified by a randomly
    initialised linear layer.

    Attributes:
        part: the set.
    """

    part: SetName = "forget"

    def observe(self, inference: Inference) -> Observation:
        """One row of logits per sample."""
        return Observation({self.part: inference.random_logits(self.part)})
