"""Alignment matrices (AM) and alignment gap matrices (AGM) of a few image-text pairs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Evidence, Measurement, SetName
from unlearn_ray.metrics.pairs import PairMetric
from unlearn_ray.metrics.similarity import unit


@register("pair_alignment_matrices")
@schema
class PairAlignmentMatrices(PairMetric):
    """What the owner of a few pairs can see of unlearning (MUC, Figure 7): arrays, no columns.

    An alignment matrix holds at (i, j) the cosine of image i with the first caption of image j:
    pairs that belong together on the diagonal. The gap matrix is the original model's minus the
    measured model's, with its sign, as in `alignment_matrices`.

    Arrays, float64, (n, n): `forget_am_before`, `forget_am_after` and `forget_agm` of forgotten
    pairs, and the same of retained ones under `retain_`, for comparison.

    Attributes:
        samples: the first of each set, at most this many: in the seed's permuted order, so that
            they are drawn at random.
        sets: whose pairs; the figure has the forget set's.
    """

    columns: ClassVar[dict[str, str]] = {}

    samples: PositiveInt = 6
    sets: Annotated[tuple[SetName, ...], Field(min_length=1)] = ("forget", "retain")

    def measure(self, evidence: Evidence) -> Measurement:
        """Three matrices of each set.

        Raises:
            DataError: a set is empty.
        """
        require_samples(evidence, *self.sets)
        arrays: dict[str, Tensor] = {}
        for part in self.sets:
            before, after = (
                pair_matrix(model, part, self.samples) for model in (evidence.original, evidence)
            )
            arrays |= {
                f"{part}_am_before": before,
                f"{part}_am_after": after,
                f"{part}_agm": before - after,
            }
        return Measurement({}, arrays)


def pair_matrix(evidence: Evidence, part: SetName, samples: int) -> Float[Tensor, "n n"]:
    """Cosine of each of the first images with the first caption of each, in float64."""
    pairs = evidence.pairs(part, min(samples, evidence.size(part)))
    first = pairs.captions[pairs.begins[:-1]]
    return unit(pairs.images) @ unit(pairs.texts[first]).T
