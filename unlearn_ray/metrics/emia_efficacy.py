"""EMIA efficacy: a membership inference attack on the encoder."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.attacks import best_threshold
from unlearn_ray.metrics.base import Measurement, Metric, Needs, Observed
from unlearn_ray.quantities.view_similarity import ViewSimilarity

EDGES = np.linspace(0.0, 1.0, 501)


@register("emia_efficacy")
@schema
class EMIAEfficacy(Metric):
    """Percent of the forget set that the attack predicts as non-members (MUC, equation 7: EMIA).

    EncoderMI-T (Liu et al. 2021): a sample's membership score is the mean cosine over all pairs
    of its views' backbone features, and members lie at or above a threshold. The threshold is
    the first of 501 edges on [0, 1] with the best accuracy in distinguishing retain samples (the
    first in the seed's permuted order) from the whole test set.

    MUC's appendix A.3 asks for as many members as non-members; its official code takes the
    first 10,000 retain samples, which is the same for CIFAR. Here members are the first
    |test| retain samples, at most `members`; if the numbers differ, balanced accuracy is used,
    so that a large test set does not dominate.

    Attributes:
        views: strong augmentations of each sample.
        members: at most this many retain samples.
    """

    columns: ClassVar[dict[str, str]] = {"emia_efficacy": "EMIA"}
    in_average_gap: ClassVar[bool] = True
    by_default: ClassVar[bool] = True

    views: Annotated[int, Field(ge=2, le=1000)] = 10
    members: PositiveInt = 10_000

    @property
    def _similarity(self) -> ViewSimilarity:
        return ViewSimilarity(views=self.views)

    def needs(self) -> Needs:
        """The similarity of every sample's views."""
        return Needs(model=(self._similarity,))

    def measure(self, model: Observed) -> Measurement:
        """Percent of the forget set below the threshold.

        Raises:
            DataError: a set is empty.
        """
        require_samples(model, "retain", "forget", "test")
        retain, forget, test = (
            model.values(self._similarity, part).numpy() for part in ("retain", "forget", "test")
        )
        threshold = best_threshold(retain[: min(self.members, len(test))], test, EDGES)
        return Measurement({"emia_efficacy": 100 * float(np.mean(forget < threshold))})
