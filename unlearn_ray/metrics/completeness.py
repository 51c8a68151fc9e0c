"""Completeness: how often a model predicts the retrained model's class for forget samples."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import OUTPUTS, Measurement, Metric, Needs, Observed


@register("completeness")
@schema
class Completeness(Metric):
    """Percent of forget samples for which both models predict the same class, right or wrong.

    Cao and Yang, "Towards Making Systems Forget with Machine Unlearning", S&P 2015: the
    share of inputs for which the unlearned and the retrained system predict the same; SUPREME
    (2606.00380) computes it likewise. The first class wins ties. Two retrained models do not reach
    100: read it beside the value of another one.
    """

    columns: ClassVar[dict[str, str]] = {"completeness": "Completeness"}
    needs_classes: ClassVar[bool] = True

    def needs(self) -> Needs:
        """The outputs of both models."""
        return Needs(model=(OUTPUTS,), retrained=(OUTPUTS,))

    def measure(self, model: Observed) -> Measurement:
        """The percentage.

        Raises:
            DataError: the forget set is empty.
        """
        require_samples(model, "forget")
        own, other = (
            each.probabilities("forget").argmax(dim=1) for each in (model, model.retrained)
        )
        return Measurement({"completeness": 100 * int((own == other).sum()) / len(own)})
