"""CMIA efficacy: a confidence-based membership inference attack on the classifier."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Metric, Observed
from unlearn_ray.quantities.base import SetName

# Above this many samples, confidences are binned. Measured at MUC's sizes (10,000 of each side,
# 4,500 to forget) on two distributions: one and two predictions differ from the exact machine's
# (0.02 and 0.04 points), in 1/13 and 1/57 of its time.
EXACT_UP_TO = 4096
BINS = 4096


@register("cmia_efficacy")
@schema
class CMIAEfficacy(Metric):
    """Percent of the forget set that the attack predicts as non-members (MUC, equation 6: CMIA).

    The attack (Song and Mittal 2021, as in MUC's official code) sees one number: the probability
    of the true class under the model's own linear probe. It is a support vector machine (rbf,
    C = 3, gamma = 1) trained on as many retain samples as there are test samples, the first in
    the seed's permuted order, as members, and on the whole test set as non-members.

    A retain set smaller than the test set is used whole. Classes are not reweighted, so the
    attack then leans towards non-members.
    """

    columns: ClassVar[dict[str, str]] = {"cmia_efficacy": "CMIA"}
    in_average_gap: ClassVar[bool] = True
    by_default: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = True

    def measure(self, model: Observed) -> Measurement:
        """Percent of the forget set predicted non-member.

        Raises:
            DataError: a set is empty.
        """
        require_samples(model, "retain", "forget", "test")
        members = true_class_confidence(model, "retain")[: model.size("test")]
        non_members = true_class_confidence(model, "test")
        attack = fit_attack(members, non_members)
        forget = true_class_confidence(model, "forget")
        is_member = attack.predict(forget[:, None])
        return Measurement({"cmia_efficacy": 100 * float(np.mean(is_member == 0))})


def true_class_confidence(model: Observed, part: SetName) -> Float[np.ndarray, " n"]:
    """Softmax probability of each sample's true class."""
    probabilities: Tensor = model.probabilities(part)
    chosen = probabilities.gather(1, model.labels(part)[:, None])[:, 0]
    return np.asarray(chosen.double().numpy())


def fit_attack(members: Float[np.ndarray, " m"], non_members: Float[np.ndarray, " n"]) -> Any:
    """The support vector machine; predicts 1 for members.

    Large sets are binned: samples of one side in one of 4,096 equal bins of [0, 1] become their
    mean, weighted by their number. Equal samples are exact, and binning the others changes the
    score by at most 0.1 points in our trials, since the kernel is a hundred times wider than a bin.
    """
    from sklearn.svm import SVC

    exact = len(members) + len(non_members) <= EXACT_UP_TO
    group = _unbinned if exact else _binned
    member_values, member_weights = group(members)
    other_values, other_weights = group(non_members)
    attack = SVC(kernel="rbf", C=3, gamma="auto")
    attack.fit(
        np.concatenate([member_values, other_values])[:, None],
        np.concatenate([np.ones(len(member_values)), np.zeros(len(other_values))]),
        sample_weight=np.concatenate([member_weights, other_weights]),
    )
    return attack


def _unbinned(
    values: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    return values, np.ones(len(values))


def _binned(
    values: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    """Mean and number of the values of every non-empty bin."""
    bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    sums = np.bincount(bins, weights=values, minlength=BINS)
    held = counts > 0
    return sums[held] / counts[held], counts[held].astype(np.float64)
