"""Alignment matrices (AM) and alignment gap matrices (AGM) of a few image-text pairs."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from jaxtyping import Float
from pydantic import Field, Strict, model_validator
from torch import Tensor

from unlearn_ray.core.errors import ConfigError, DataError
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, field_values, schema
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.data.sample_names import SampleNames, Unclear
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Needs, Observed
from unlearn_ray.metrics.pairs import PairMetric
from unlearn_ray.quantities.base import Pairs, SetName
from unlearn_ray.quantities.pair_embeddings import PairEmbeddings, pairs_of
from unlearn_ray.quantities.similarity import unit

SampleId = Annotated[int, Strict()] | Annotated[str, Strict()]


@register("pair_alignment_matrices")
@schema
class PairAlignmentMatrices(PairMetric):
    """A data owner's view of unlearning, for a few pairs (MUC, Figure 7): arrays, no columns.

    Entry (i, j) of an alignment matrix is the cosine of image i and the first caption of image j,
    with matching pairs on the diagonal. The gap matrix is the original's minus the measured
    model's, signed, as in `alignment_matrices`.

    Arrays, float64, (n, n): `forget_am_before`, `forget_am_after` and `forget_agm` of forget
    pairs, and the same of retain pairs under `retain_`, for comparison.

    Attributes:
        samples: at most this many, the first of each set in the seed's permuted order, which is a
            random sample.
        ids: of the training pairs to show instead (the owner's), written as in the forget set
            `ids`; each set shows those that it contains, in this order.
        sets: the sets to show; the figure shows the forget set.
    """

    columns: ClassVar[dict[str, str]] = {}

    samples: PositiveInt = 6
    ids: Annotated[tuple[SampleId, ...], Field(min_length=1)] | None = None
    sets: Annotated[tuple[SetName, ...], Field(min_length=1)] = ("forget", "retain")

    @model_validator(mode="after")
    def _ids_are_of_training_pairs(self) -> PairAlignmentMatrices:
        if self.ids is not None and "test" in self.sets:
            raise ValueError("ids are of training pairs, and sets has test; leave one of them out")
        return self

    def identity(self) -> dict[str, Any]:
        """The positions of named pairs, so that it does not matter how a pair is written."""
        ids = None if self.ids is None else self._positions()
        return {"name": self.name, **field_values(self), "ids": ids}

    def check(self, info: DatasetInfo) -> None:
        """Look up the ids; each must name a training pair."""
        if self.ids is None:
            return
        names = SampleNames(info)
        found: list[int] = []
        unclear: list[str] = []
        for given in self.ids:
            try:
                found.append(names.find(str(given)))
            except Unclear as problem:
                unclear.append(str(problem))
        if unclear:
            error = names.refusal(f"{self.name}.ids", unclear, f"{len(self.ids):,} ids")
            raise ConfigError(error.subject, error.reason, error.remedy)
        # A frozen part may still remember what it looked up: it is a function of its fields.
        self.__dict__["_checked"] = found

    def needs(self) -> Needs:
        """The embeddings of the chosen pairs, before and after."""
        pairs = tuple(self._pairs(part) for part in self.sets)
        return Needs(model=pairs, original=pairs)

    def measure(self, model: Observed) -> Measurement:
        """Three matrices of each set.

        Raises:
            DataError: a set is empty.
        """
        require_samples(model, *self.sets)
        arrays: dict[str, Tensor] = {}
        for part in self.sets:
            before, after = (
                pair_matrix(pairs_of(each.observation(self._pairs(part))))
                for each in (model.original, model)
            )
            arrays |= {
                f"{part}_am_before": before,
                f"{part}_am_after": after,
                f"{part}_agm": before - after,
            }
        return Measurement({}, arrays)

    def _pairs(self, part: SetName) -> PairEmbeddings:
        if self.ids is None:
            return PairEmbeddings(part=part, samples=self.samples)
        return PairEmbeddings(part=part, ids=tuple(self._positions()))

    def _positions(self) -> list[int]:
        """The named pairs in the training set.

        Raises:
            DataError: `check` has not looked them up.
        """
        if "_checked" not in self.__dict__:
            raise DataError(
                f"{self.name}.ids",
                "their pairs are not known until they are looked up in a dataset",
                "call check() first",
            )
        positions: list[int] = self.__dict__["_checked"]
        return positions


def pair_matrix(pairs: Pairs) -> Float[Tensor, "n n"]:
    """Cosine of each image with each image's first caption, in float64."""
    return unit(pairs.images) @ unit(pairs.texts[pairs.captions[pairs.begins[:-1]]]).T
