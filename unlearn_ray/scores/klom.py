"""KLOM: divergence of the unlearned models' confidences from the retrained models', per sample."""

from __future__ import annotations

from math import inf
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.evidence.estimates import Estimate
from unlearn_ray.evidence.klom import klom
from unlearn_ray.evidence.resampling import Rows, evenly
from unlearn_ray.quantities.base import SetName
from unlearn_ray.scores.base import ReplicateBank, ReplicateScore, Scores
from unlearn_ray.scores.resampled import refused, resampled

_SETS: tuple[SetName, ...] = ("forget", "retain", "test")
# Samples from which nulls and intervals are computed.
_RESAMPLED = 5_000


@register("klom")
@schema
class KLOM(ReplicateScore):
    """Mean and 95th percentile, over a set's samples, of KL(unlearned || retrained) in nats.

    Histograms of few models are never alike: between populations that are, KLOM is 8 at 5 models of
    each kind, 3 at 20, 0.9 at 50, 0.35 at 100 and 0.02 at 1,000. So it is refused below 20, and
    below 100 it says little: it must be read beside its null.
    """

    columns: ClassVar[dict[str, str]] = {
        f"klom_{part}{suffix}": f"KLOM, {part}{words}"
        for part in _SETS
        for suffix, words in (("", ""), ("_p95", ", 95th percentile"))
    }
    least: ClassVar[int] = 20

    def measure(self, bank: ReplicateBank) -> Scores:
        """The estimates of each set; the array `klom_<set>` has the value of each sample."""
        estimates: dict[str, Estimate] = {}
        arrays = {}
        for part in _SETS:
            names = (f"klom_{part}", f"klom_{part}_p95")
            kinds = bank.unlearned.confidence[part], bank.retrained.confidence[part]
            models, samples = min(map(len, kinds)), kinds[0].shape[1]
            if models < self.least or samples == 0:
                reason = (
                    f"KLOM of {models} models of each kind is noise; train {self.least} or more, "
                    "or better 100"
                )
                estimates |= refused(names, models, reason if samples else "the set is empty")
                continue
            arrays[f"klom_{part}"] = klom(*kinds)
            estimates |= _estimates(names, arrays[f"klom_{part}"], *kinds)
        return Scores(estimates, arrays)


def _estimates(
    names: tuple[str, str],
    values: Float64[np.ndarray, " n"],
    unlearned: Float64[np.ndarray, "models n"],
    retrained: Float64[np.ndarray, "others n"],
) -> dict[str, Estimate]:
    kept = evenly(len(values), _RESAMPLED)
    pooled = np.concatenate([unlearned[:, kept], retrained[:, kept]])

    def measured(first: Rows, second: Rows) -> Float64[np.ndarray, " 2"]:
        return _summary(klom(pooled[first], pooled[second]))

    sizes = len(unlearned), len(retrained)
    return resampled(names, _summary(values), measured, sizes, bounds=(0, inf))


def _summary(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " 2"]:
    return np.array([values.mean(), np.quantile(values, 0.95)])
