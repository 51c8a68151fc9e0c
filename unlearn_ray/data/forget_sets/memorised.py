"""Forget samples of low, middle or high memorisation."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float64, Int64

from unlearn_ray.core.errors import DataError, shown_path
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.data.base import DatasetInfo, ForgetSet
from unlearn_ray.data.estimate_files import read_estimates
from unlearn_ray.data.sample_names import SampleNames
from unlearn_ray.evidence.memorisation import groups

Estimates = tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, " n"]]


@register("memorised")
@schema
class Memorised(ForgetSet):
    """Samples ranked by how much models memorise them, as estimated from a bank.

    Zhao et al., "What makes unlearning hard and what to do about it" (RUM), NeurIPS 2024, with the
    estimates of Feldman and Zhang, NeurIPS 2020: highly memorised samples are hard to forget.

    `python -m unlearn_ray.results STORE memorisation FILE --output estimates.csv` writes the
    estimates of the audited samples of a sweep's bank. Of these, each seed ranks the ones that are
    trained on (validation is left out), and forgets `count` of them; samples with equal estimates
    are ranked in the seed's permuted order, shuffled.

    Attributes:
        file: the estimates, CSV or Parquet, with the columns `sample` (named as in `ids`) and
            `memorisation`; read once, when the sweep is planned.
        group: `low`, `mid` or `high`: the samples of lowest, middle or highest rank.
        count: number of samples; at most a third of those that are ranked.
    """

    reads_labels: ClassVar[bool] = False

    file: str
    group: Literal["low", "mid", "high"]
    count: PositiveInt

    def identity(self) -> dict[str, Any]:
        """Group, count and the estimates that the file holds, never its path."""
        estimates = hashlib.sha256()
        for column, kind in zip(self._estimates, ("<i8", "<f8"), strict=True):
            estimates.update(column.astype(kind).tobytes())
        return {
            "name": self.name,
            "group": self.group,
            "count": self.count,
            "estimates": estimates.hexdigest(),
        }

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """Every row must name a sample, and there must be enough of them."""
        samples, values = read_estimates(self.file, SampleNames(info))
        self._require(len(samples), "holds estimates of")
        # A frozen part may still remember what it looked up: it is a function of its fields.
        self.__dict__["_checked"] = samples, values

    def size(self, trained_on: int) -> int:
        """Number of samples to forget."""
        return self.count

    def note(self) -> str:
        """How they are chosen."""
        total = len(self._estimates[0])
        return f"samples of {self.group} memorisation, of {total:,} with estimates"

    def select(
        self, order: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " train"]
    ) -> Int64[np.ndarray, " m"]:
        """The group, among the samples of `order` that have estimates.

        Raises:
            DataError: these are too few.
        """
        samples, values = self._estimates
        ranked = order[np.isin(order, samples)]
        self._require(len(ranked), "leaves, without the validation set,")
        found = groups(values[np.searchsorted(samples, ranked)], self.count, seed=0)
        return np.asarray(ranked[found[self.group]])

    def _require(self, samples: int, does: str) -> None:
        if 3 * self.count > samples:
            raise DataError(
                f"forget_set {self.name}: count = {self.count}",
                f"{shown_path(self.file)} {does} {samples:,} samples, too few for three groups",
                f"choose a count from 1 to {samples // 3:,}, or audit more samples"
                if samples >= 3
                else "audit more samples",
            )

    @property
    def _estimates(self) -> Estimates:
        if "_checked" not in self.__dict__:
            raise DataError(
                f"file = {shown_path(self.file)}",
                "its samples are not known until they are looked up in a dataset",
                "call check() first",
            )
        checked: Estimates = self.__dict__["_checked"]
        return checked
