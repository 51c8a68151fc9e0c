"""JS divergence: how far a model's outputs on the forget set are from the retrained model's."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import special

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import OUTPUTS, Measurement, Metric, Needs, Observed


@register("js_divergence")
@schema
class JSDivergence(Metric):
    """Mean Jensen-Shannon divergence of both models' outputs, in bits: 0 if equal, 1 if disjoint.

    JS(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2. ZRF (Chundawat et al., AAAI 2023) uses the same
    divergence from the outputs of a random model.
    """

    columns: ClassVar[dict[str, str]] = {"js_divergence": "JS divergence"}
    needs_classes: ClassVar[bool] = True

    def needs(self) -> Needs:
        """The outputs of both models."""
        return Needs(model=(OUTPUTS,), retrained=(OUTPUTS,))

    def measure(self, model: Observed) -> Measurement:
        """The mean over the forget set."""
        require_samples(model, "forget")
        p, q = (each.probabilities("forget").double() for each in (model, model.retrained))
        mixed, own, other = (special.entr(each).sum(dim=1) for each in ((p + q) / 2, p, q))
        nats = float((mixed - (own + other) / 2).mean())
        return Measurement({"js_divergence": nats / math.log(2)})
