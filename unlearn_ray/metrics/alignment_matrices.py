"""Alignment matrices (AM) and the alignment gap matrix (AGM) of a few forgotten images."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Metric, Needs, Observed
from unlearn_ray.quantities.similarity import alignment_matrix
from unlearn_ray.quantities.view_features import ViewFeatures


@register("alignment_matrices")
@schema
class AlignmentMatrices(Metric):
    """A data owner's view of unlearning (MUC, sections 4.2 and 5.3): arrays, no columns.

    Entry (i, j) of an alignment matrix is the cosine of the backbone features of view 1 of sample
    i and view 2 of sample j: positive pairs on the diagonal, negative pairs off it. The gap
    matrix is the original's minus the measured model's, signed, so that the mean of its diagonal
    is the forgetting score (MUC, equation 2) of these samples; this is our reading, since the
    available text lacks the definition.

    Arrays: `am_before`, `am_after` and `agm`, float64, (n, n).

    Attributes:
        samples: at most this many, the first of the forget set.
    """

    columns: ClassVar[dict[str, str]] = {}
    by_default: ClassVar[bool] = True

    samples: PositiveInt = 8

    @property
    def _features(self) -> ViewFeatures:
        return ViewFeatures(part="forget", views=2, samples=self.samples)

    def needs(self) -> Needs:
        """Two views of the first forgotten samples, before and after."""
        return Needs(model=(self._features,), original=(self._features,))

    def measure(self, model: Observed) -> Measurement:
        """The three matrices.

        Raises:
            DataError: the forget set is empty.
        """
        require_samples(model, "forget")
        before, after = (
            alignment_matrix(each.values(self._features, "forget"))
            for each in (model.original, model)
        )
        arrays = {"am_before": before, "am_after": after, "agm": before - after}
        return Measurement({}, arrays)
