"""Outputs: the logits of every sample."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.quantities.base import SETS, Inference, Observation, Quantity


@register("outputs")
@schema
class Outputs(Quantity):
    """The logits of all four sets, float32: of a classifier, of prompts, or of the linear probe.

    Not float16, which would flip near ties, and change an accuracy on 4,500 samples by
    hundredths of a point.
    """

    trained: ClassVar[bool] = True

    def observe(self, inference: Inference) -> Observation:
        """One row of logits per sample.

        Raises:
            NonFiniteLoss: an output, or the probe's training, became NaN or infinite.
            DataError: the retain set is empty, and a probe is needed.
        """
        return Observation({part: inference.logits(part) for part in SETS})
