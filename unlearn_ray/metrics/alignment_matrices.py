"""Alignment matrices (AM) and the alignment gap matrix (AGM) of a few forgotten images."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Evidence, Measurement, Metric
from unlearn_ray.metrics.similarity import alignment_matrix


@register("alignment_matrices")
@schema
class AlignmentMatrices(Metric):
    """What a data owner can see of unlearning (MUC, sections 4.2 and 5.3): arrays, no columns.

    An alignment matrix holds at (i, j) the cosine of the backbone features of view 1 of sample
    i with view 2 of sample j: positive pairs on the diagonal, negative pairs beside it. The gap
    matrix is the original model's minus the measured model's, with its sign, so that the mean
    of its diagonal is the forgetting score (MUC, equation 2) of these samples; this is our
    reading, as the text at hand lacks the lines that define it.

    Arrays: `am_before`, `am_after` and `agm`, float64, (n, n).

    Attributes:
        samples: the first of the forget set, at most this many.
    """

    columns: ClassVar[dict[str, str]] = {}
    by_default: ClassVar[bool] = True

    samples: PositiveInt = 8

    def measure(self, evidence: Evidence) -> Measurement:
        """The three matrices.

        Raises:
            DataError: the forget set is empty.
        """
        require_samples(evidence, "forget")
        size = min(self.samples, evidence.size("forget"))
        before = alignment_matrix(evidence.original.view_features("forget", 2, size))
        after = alignment_matrix(evidence.view_features("forget", 2, size))
        arrays = {"am_before": before, "am_after": after, "agm": before - after}
        return Measurement({}, arrays)
