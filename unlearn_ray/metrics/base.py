"""Contract of a metric: a function of features and probe outputs, never of where they ran."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, TypeVar

from jaxtyping import Float, Int
from torch import Tensor

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import DatasetInfo, ForgetSet

SetName = Literal["retain", "forget", "test"]


@dataclass(frozen=True)
class Pairs:
    """Images and their captions, embedded in one space.

    A caption that several images have is there once.

    Attributes:
        images: rows of length 1, (N, D).
        texts: the same of distinct captions, (U, D); those that no image has may hold anything.
        captions: rows of `texts`, one for each caption, image by image, (C,).
        begins: where each image's captions begin in `captions`, and at last their number, (N + 1,).
    """

    images: Float[Tensor, "n d"]
    texts: Float[Tensor, "distinct d"]
    captions: Int[Tensor, " c"]
    begins: Int[Tensor, " n_and_end"]


class Evidence(Protocol):
    """What can be asked of one model; everything is computed at most once and shared.

    Samples of the retain set stand in the seed's permuted order, of the test set in the
    dataset's order. All tensors are on the CPU, float32 or int64.
    """

    def size(self, part: SetName) -> int:
        """Number of samples of a set."""
        ...

    def ids(self, part: SetName) -> Int[Tensor, " n"]:
        """Of a set's samples in the dataset: among the training images, or the test images."""
        ...

    def labels(self, part: SetName) -> Int[Tensor, " n"]:
        """True classes."""
        ...

    def features(self, part: SetName) -> Float[Tensor, "n d"]:
        """Backbone features of test-time images, in eval mode."""
        ...

    def probabilities(self, part: SetName) -> Float[Tensor, "n classes"]:
        """Softmax of a classifier; zero-shot, over the classes' prompts, of a model that reads
        captions; else of the linear probe trained on a model's retain features."""
        ...

    def view_features(self, part: SetName, views: int, limit: int) -> Float[Tensor, "m v d"]:
        """Backbone features of `views` strong augmentations of the set's first `limit`."""
        ...

    def pairs(self, part: SetName, limit: int) -> Pairs:
        """The set's first `limit` test-time images with all of their captions, in eval mode, of
        a model that reads captions."""
        ...

    @property
    def original(self) -> Evidence:
        """The same of the original model: before unlearning."""
        ...


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
        needs_classes: whether it says nothing of images of no classes: it asks for probabilities.
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

    def measure(self, evidence: Evidence) -> Measurement:
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
