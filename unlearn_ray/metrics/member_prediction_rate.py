"""Member prediction rate: a membership inference attack on a model's whole output."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.attacks import logistic_regression
from unlearn_ray.metrics.base import Measurement, Metric, Observed


@register("member_prediction_rate")
@schema
class MemberPredictionRate(Metric):
    """Percent of forget, and of held-out retain, samples that an attack predicts as members.

    "Contrastive Unlearning" (2401.10458), section 5.1, Tables 4 and 19. The attack is Shokri et
    al.'s (IEEE S&P 2017) without shadow models, as whoever verifies unlearning has the model and
    its data: it is trained to distinguish retain samples (members) from test samples
    (non-members) by the model's softmax outputs. Good unlearning has a low rate on the forget set
    ("unlearning") and a high one on held-out members ("member-test").

    The paper specifies neither the attack's model nor its sizes. Here outputs are sorted, largest
    first, and the attack is a logistic regression (C = 1): its optimum is unique, whereas a
    network's rates depend on when its training ends. It is trained on n = min(|test|, |retain|)
    // 2 of each side: test samples spread evenly over the test set, whose other half is held out,
    and the first retain samples in the seed's permuted order; the next n of these are the
    held-out members.
    """

    columns: ClassVar[dict[str, str]] = {
        "member_rate_forget": "Member rate, forget",
        "member_rate_members": "Member rate, member-test",
    }
    needs_classes: ClassVar[bool] = True

    def measure(self, model: Observed) -> Measurement:
        """Both rates.

        Raises:
            DataError: the forget set is empty, or another holds less than two samples.
        """
        require_samples(model, "retain", "forget", "test")
        size = min(model.size("test"), model.size("retain")) // 2
        if size == 0:
            raise DataError(
                "retain or test set of 1 sample",
                "an attack needs one to train on and one to evaluate on",
                "choose a dataset, validation and forget set that leave more",
            )
        step = model.size("test") // size
        retain = sorted_outputs(model.probabilities("retain")[: 2 * size])
        test = sorted_outputs(model.probabilities("test")[::step][:size])
        attack = logistic_regression(retain[:size], test)
        tried = {
            "member_rate_forget": sorted_outputs(model.probabilities("forget")),
            "member_rate_members": retain[size:],
        }
        return Measurement(
            {name: 100 * float(np.mean(attack.predict(rows))) for name, rows in tried.items()}
        )


def sorted_outputs(probabilities: Float[Tensor, "n c"]) -> Float[np.ndarray, "n c"]:
    """Each sample's probabilities, the largest first."""
    ordered = torch.sort(probabilities.double(), dim=1, descending=True).values
    return np.asarray(ordered.numpy())
