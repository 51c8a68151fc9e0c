"""Activation distance: how far outputs on the forget set are from the retrained model's."""

from __future__ import annotations

from typing import ClassVar

import torch

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import OUTPUTS, Measurement, Metric, Needs, Observed


@register("activation_distance")
@schema
class ActivationDistance(Metric):
    """Mean L2 distance of both models' softmax outputs on the forget set, from 0 to sqrt(2).

    Golatkar et al., "Forgetting Outside the Box", ECCV 2020; Chundawat et al., AAAI 2023. SUPREME's
    code (2606.00380) takes the root of the mean squared distance instead, which is never smaller.
    """

    columns: ClassVar[dict[str, str]] = {"activation_distance": "Activation distance"}
    needs_classes: ClassVar[bool] = True

    def needs(self) -> Needs:
        """The outputs of both models."""
        return Needs(model=(OUTPUTS,), retrained=(OUTPUTS,))

    def measure(self, model: Observed) -> Measurement:
        """The mean over the forget set.

        Raises:
            DataError: the forget set is empty.
        """
        require_samples(model, "forget")
        own, other = (each.probabilities("forget").double() for each in (model, model.retrained))
        distances = torch.linalg.vector_norm(own - other, dim=1)
        return Measurement({"activation_distance": float(distances.mean())})
