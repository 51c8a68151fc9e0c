"""JS divergence: how far a model's outputs on the forget set are from the retrained model's."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import OUTPUTS, Measurement, Metric, Needs, Observed
from unlearn_ray.metrics.divergence import mean_js_divergence


@register("js_divergence")
@schema
class JSDivergence(Metric):
    """Mean Jensen-Shannon divergence of both models' outputs, in bits: 0 if equal, 1 if disjoint.

    JS(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2. `zrf` uses the same divergence from the outputs
    of a random model.
    """

    columns: ClassVar[dict[str, str]] = {"js_divergence": "JS divergence"}
    needs_classes: ClassVar[bool] = True

    def needs(self) -> Needs:
        """The outputs of both models."""
        return Needs(model=(OUTPUTS,), retrained=(OUTPUTS,))

    def measure(self, model: Observed) -> Measurement:
        """The mean over the forget set."""
        require_samples(model, "forget")
        p, q = (each.probabilities("forget") for each in (model, model.retrained))
        return Measurement({"js_divergence": mean_js_divergence(p, q)})
