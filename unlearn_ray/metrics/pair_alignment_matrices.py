"""Alignment matrices (AM) and alignment gap matrices (AGM) of a few image-text pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import NonNegativeInt, PositiveInt, schema
from unlearn_ray.data.base import DatasetInfo
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
        ids: of the training pairs to show instead, their owner's; each set shows those that it
            has, in this order.
        sets: whose pairs; the figure has the forget set's.
    """

    columns: ClassVar[dict[str, str]] = {}

    samples: PositiveInt = 6
    ids: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    sets: Annotated[tuple[SetName, ...], Field(min_length=1)] = ("forget", "retain")

    @model_validator(mode="after")
    def _ids_are_of_training_pairs(self) -> PairAlignmentMatrices:
        if self.ids is not None and "test" in self.sets:
            raise ValueError("ids are of training pairs, and sets has test; leave one of them out")
        return self

    def check(self, info: DatasetInfo) -> None:
        """Every id is of a training pair."""
        beyond = [number for number in self.ids or () if number >= info.train_size]
        if beyond:
            raise ConfigError(
                f"{self.name}.ids: {beyond[0]}",
                f"the training set has {info.train_size:,} samples",
                f"give ids from 0 to {info.train_size - 1}",
            )

    def measure(self, evidence: Evidence) -> Measurement:
        """Three matrices of each set.

        Raises:
            DataError: a set is empty.
        """
        require_samples(evidence, *self.sets)
        arrays: dict[str, Tensor] = {}
        for part in self.sets:
            places = self._places(evidence, part)
            before, after = (
                pair_matrix(model, part, places) for model in (evidence.original, evidence)
            )
            arrays |= {
                f"{part}_am_before": before,
                f"{part}_am_after": after,
                f"{part}_agm": before - after,
            }
        return Measurement({}, arrays)

    def _places(self, evidence: Evidence, part: SetName) -> list[int]:
        if self.ids is None:
            return list(range(min(self.samples, evidence.size(part))))
        found = {number: place for place, number in enumerate(evidence.ids(part).tolist())}
        return [found[number] for number in self.ids if number in found]


def pair_matrix(evidence: Evidence, part: SetName, places: Sequence[int]) -> Float[Tensor, "n n"]:
    """Cosine of each of a set's images at these places with the first caption of each.

    In float64.
    """
    pairs = evidence.pairs(part, max(places, default=0) + 1)
    rows = torch.tensor(places, dtype=torch.int64)
    captions = pairs.captions[pairs.begins[rows]]
    return unit(pairs.images[rows]) @ unit(pairs.texts[captions]).T
