"""Negative alignment: how unlearning changes the similarity of different forget images."""

from __future__ import annotations

import math
from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Metric, Needs, Observed
from unlearn_ray.quantities.similarity import alignment_matrix
from unlearn_ray.quantities.view_features import ViewFeatures

BLOCK = 512


@register("negative_alignment")
@schema
class NegativeAlignment(Metric):
    """Mean and deviation over negative pairs of the alignment gap matrix (MUC, section 5.3).

    The gap matrix is before minus after, as defined in `alignment_matrices`; its negative pairs
    are the entries off the diagonal. A negative mean says that unlearning pulled forget images
    together, as the negative calibration of Alignment Calibration does. Only 512 rows of the
    matrix are in memory at a time.

    A single sample has no negative pair: both columns are then 0.

    Attributes:
        samples: at most this many, the first of the forget set; time is quadratic in it.
    """

    columns: ClassVar[dict[str, str]] = {
        "negative_alignment_mean": "NA mean",
        "negative_alignment_std": "NA std",
    }
    by_default: ClassVar[bool] = True

    samples: PositiveInt = 5_000

    @property
    def _features(self) -> ViewFeatures:
        return ViewFeatures(part="forget", views=2, samples=self.samples)

    def needs(self) -> Needs:
        """Two views of the first forgotten samples, before and after."""
        return Needs(model=(self._features,), original=(self._features,))

    def measure(self, model: Observed) -> Measurement:
        """Mean and population standard deviation over ordered pairs of different samples.

        Raises:
            DataError: the forget set is empty.
        """
        require_samples(model, "forget")
        before = model.original.values(self._features, "forget")
        after = model.values(self._features, "forget")
        size = after.shape[0]
        total = squares = 0.0
        for start in range(0, size, BLOCK):
            rows = slice(start, start + BLOCK)
            gap = alignment_matrix(before, rows) - alignment_matrix(after, rows)
            gap[:, rows].fill_diagonal_(0.0)
            total += float(gap.sum())
            squares += float(gap.square().sum())
        pairs = max(size * (size - 1), 1)
        mean = total / pairs
        deviation = math.sqrt(max(squares / pairs - mean**2, 0.0))
        return Measurement({"negative_alignment_mean": mean, "negative_alignment_std": deviation})
