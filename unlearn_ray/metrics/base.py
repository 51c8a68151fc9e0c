"""Contract of a metric: a function of observations of one or several models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import DatasetInfo, ForgetSet
from unlearn_ray.quantities.base import Observation, Quantity, SetName
from unlearn_ray.quantities.outputs import Outputs

OUTPUTS = Outputs()

Observe = Callable[[Quantity], Observation]


@dataclass(frozen=True)
class Needs:
    """The inputs of a metric: quantities of each of these models.

    Attributes:
        model: the measured model.
        original: the model before unlearning; for the original, itself.
        retrained: the model trained without the forget set, under the same seed; for the
            retrained model, itself.
        other_seeds: the measured model's counterparts under each of the other reporting seeds.
    """

    model: tuple[Quantity, ...] = ()
    original: tuple[Quantity, ...] = ()
    retrained: tuple[Quantity, ...] = ()
    other_seeds: tuple[Quantity, ...] = ()


class Observed:
    """A metric's access to the observations of one model, as stated by `Metric.needs`.

    Samples of the retain set are in the seed's permuted order, those of the test set in the
    dataset's order. All tensors are on the CPU.

    Args:
        ids: of the samples of each set, among the training images or the test images.
        labels: their true classes.
        observe: returns the observation of a quantity.
        original, retrained, other_seeds: the same for related models.
    """

    def __init__(
        self,
        ids: Mapping[SetName, Tensor],
        labels: Mapping[SetName, Tensor],
        observe: Observe,
        *,
        original: Observed | None = None,
        retrained: Observed | None = None,
        other_seeds: Sequence[Observed] = (),
    ) -> None:
        self._ids = ids
        self._labels = labels
        self._observe = observe
        self.original = self if original is None else original
        self.retrained = self if retrained is None else retrained
        self.other_seeds = tuple(other_seeds)

    def size(self, part: SetName) -> int:
        """Number of samples of a set."""
        return self._labels[part].shape[0]

    def ids(self, part: SetName) -> Int[Tensor, " n"]:
        """Ids of a set's samples, among the training images or the test images."""
        return self._ids[part]

    def labels(self, part: SetName) -> Int[Tensor, " n"]:
        """True classes."""
        return self._labels[part]

    def observation(self, quantity: Quantity) -> Observation:
        """The observation of a quantity."""
        return self._observe(quantity)

    def values(self, quantity: Quantity, part: SetName) -> Tensor:
        """The observed values of a set's samples, or of its first ones."""
        return self.observation(quantity).samples[part]

    def probabilities(self, part: SetName) -> Float[Tensor, "n classes"]:
        """Softmax of the outputs of a set's samples."""
        return self.values(OUTPUTS, part).softmax(dim=1)


@dataclass(frozen=True)
class Measurement:
    """A metric's result: numbers for the row, and arrays for an artifact."""

    values: dict[str, float]
    arrays: dict[str, Tensor] = field(default_factory=dict)


@schema
class Metric(Part):
    """Contract of a metric.

    Class attributes:
        columns: its columns, each with its header in printed tables.
        in_average_gap: whether its (single) column counts in the average gap (MUC: EMIA, RA,
            TA, UA and CMIA, all in percent) of a sweep that measures it.
        by_default: whether a sweep that names no metrics measures it, as it does MUC's. Any other
            metric that counts in the average gap does so only if the sweep names it.
        made_of: columns whose mean its own column is: if all of them count in the average gap, it
            does not, so that no sample counts twice.
        needs_classes: whether it uses outputs, so that it is undefined for unlabelled images.
        needs_captions: whether it uses pairs, so that it is undefined for families without
            captions.
        stored_only: columns that are in rows, files and queries, but not in printed tables.
    """

    kind: ClassVar[str] = "metric"
    room: ClassVar[str] = "unlearn_ray.metrics"
    columns: ClassVar[dict[str, str]]
    in_average_gap: ClassVar[bool] = False
    by_default: ClassVar[bool] = False
    made_of: ClassVar[frozenset[str]] = frozenset()
    needs_classes: ClassVar[bool] = False
    needs_captions: ClassVar[bool] = False
    stored_only: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def unsupported(cls, forget_set: ForgetSet) -> str | None:
        """Why this metric is undefined for such a forget set; None if it is defined."""
        return None

    def check(self, info: DatasetInfo) -> None:
        """Refuse, while planning, fields that do not fit the dataset.

        Raises:
            ConfigError: a field does not fit.
        """

    def needs(self) -> Needs:
        """Its inputs; by default, the outputs of the measured model."""
        return Needs(model=(OUTPUTS,))

    def measure(self, model: Observed) -> Measurement:
        """Measure one model; one value per column."""
        raise NotImplementedError
