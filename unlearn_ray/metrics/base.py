"""Contract of a metric: a function of what was observed of one or several models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

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
    """What a metric is a function of: quantities of each of these models.

    Attributes:
        model: that is measured.
        original: before unlearning; the original's own is itself.
        retrained: without the forget set, under the same seed; the retrained model's own is
            itself.
        other_seeds: the same as the measured model, under each of the other reporting seeds.
    """

    model: tuple[Quantity, ...] = ()
    original: tuple[Quantity, ...] = ()
    retrained: tuple[Quantity, ...] = ()
    other_seeds: tuple[Quantity, ...] = ()


class Observed:
    """What a metric may ask of one model: what was observed of it, as `Metric.needs` says.

    Samples of the retain set stand in the seed's permuted order, of the test set in the
    dataset's order. All tensors are on the CPU.

    Args:
        ids: of the samples of each set, among the training images or the test images.
        labels: their true classes.
        observe: gives what was observed.
        original, retrained, other_seeds: the same of related models.
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
        """Of a set's samples in the dataset: among the training images, or the test images."""
        return self._ids[part]

    def labels(self, part: SetName) -> Int[Tensor, " n"]:
        """True classes."""
        return self._labels[part]

    def observation(self, quantity: Quantity) -> Observation:
        """What was observed."""
        return self._observe(quantity)

    def values(self, quantity: Quantity, part: SetName) -> Tensor:
        """What was observed of a set's samples, or of its first ones."""
        return self.observation(quantity).samples[part]

    def probabilities(self, part: SetName) -> Float[Tensor, "n classes"]:
        """Softmax of the outputs of a set's samples."""
        return self.values(OUTPUTS, part).softmax(dim=1)


@dataclass(frozen=True)
class Measurement:
    """What a metric found: numbers for the row, and arrays for an artifact."""

    values: dict[str, float]
    arrays: dict[str, Tensor] = field(default_factory=dict)


@schema
class Metric(Part):
    """Contract of a metric.

    Class attributes:
        columns: its columns, with the header of each in a printed table.
        in_average_gap: whether its (single) column counts in the average gap (MUC: EMIA, RA,
            TA, UA and CMIA, all in percent) of a sweep that measures it.
        by_default: whether a sweep that names no metrics measures it, as it does MUC's. What
            else counts in the average gap counts where a sweep names it, and nowhere else.
        made_of: columns of which its own is a mean: where all of them count in the average gap,
            it does not, too, or the same samples would count twice.
        needs_classes: whether it asks for outputs: it says nothing of unlabelled images.
        needs_captions: whether it asks for pairs: it says nothing of a family that reads none.
        stored_only: columns that rows, files and queries have, and printed tables leave out.
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
        """Why this metric says nothing about such a forget set; None if it does."""
        return None

    def check(self, info: DatasetInfo) -> None:
        """Refuse, while planning, what no sample of the dataset can answer.

        Raises:
            ConfigError: a field that does not fit the dataset.
        """

    def needs(self) -> Needs:
        """What it is a function of; the outputs of the measured model, unless it says more."""
        return Needs(model=(OUTPUTS,))

    def measure(self, model: Observed) -> Measurement:
        """Measure one model; one value per column."""
        raise NotImplementedError


Kind = TypeVar("Kind", Metric, type[Metric])


def counted_metrics(metrics: Collection[Kind]) -> tuple[Kind, ...]:
    """The metrics that count in the average gap of a sweep that measures `metrics`, in order.

    Not one that is made of others that count: accuracy on the test set, where those on its
    remaining and on its forgotten classes do.
    """
    may = [metric for metric in metrics if metric.in_average_gap]
    columns = {column for metric in may for column in metric.columns}
    return tuple(one for one in may if not one.made_of or not one.made_of <= columns)


def counted_columns(metrics: Collection[Kind]) -> list[str]:
    """The columns of those, in the order of the metrics."""
    return [column for metric in counted_metrics(metrics) for column in metric.columns]
