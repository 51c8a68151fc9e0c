"""ROC curves: true-positive rates against false-positive rates, equal scores always together.

A sample is taken for positive if its score is at least the threshold, so samples of equal scores
are on the same side of it, and the curve joins its points by straight lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from unlearn_ray.core.errors import DataError

Scores = Float64[np.ndarray, " n"]
Side = Literal["left", "right"]
# False positives, at least, for a rate to be more than a few samples' luck.
FALSE_POSITIVES = 10
# Most points of a thinned curve.
POINTS = 1000
# Relative error of the product of a rate and a count.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Roc:
    """A curve from (0, 0) to (1, 1).

    Attributes:
        fpr, tpr: both rates at each threshold, in ascending order.
    """

    fpr: Float64[np.ndarray, " points"]
    tpr: Float64[np.ndarray, " points"]


class Ranking:
    """Scores of positives and of negatives, larger for likelier positives.

    Attributes:
        positives, negatives: in ascending order.

    Raises:
        DataError: there are no positives or no negatives, or a score is NaN.
    """

    def __init__(self, positives: Scores, negatives: Scores) -> None:
        self.positives = _sorted("positives", positives)
        self.negatives = _sorted("negatives", negatives)

    def auc(self) -> float:
        """The area under the full curve: P[positive > negative] + P[equal] / 2."""
        below = np.searchsorted(self.negatives, self.positives, "left").sum(dtype=np.int64)
        up_to = np.searchsorted(self.negatives, self.positives, "right").sum(dtype=np.int64)
        return int(below + up_to) / (2 * len(self.positives) * len(self.negatives))

    def tpr_at(self, bound: float) -> float:
        """The largest true-positive rate of a threshold of a false-positive rate <= `bound`.

        Raises:
            DataError: there are fewer than 10 / `bound` negatives.
        """
        needed, given = negatives_needed(bound), len(self.negatives)
        if given < needed:
            raise DataError(
                f"a false-positive rate of {100 * bound:g} % with {given:,} negatives",
                f"it takes {needed:,} to tell it from chance",
                "use more samples or models, or a larger rate",
            )
        allowed = math.floor(bound * given * (1 + _ROUNDING))
        if allowed >= given:
            return 1.0
        # Down to this score one negative too many would pass, so thresholds lie above it.
        excluded = self.negatives[given - 1 - allowed : given - allowed]
        return int(reached(self.positives, excluded, "right")[0]) / len(self.positives)

    def roc(self) -> Roc:
        """The full curve: one point for each distinct score."""
        return self._at(self._distinct())

    def thinned(self) -> Roc:
        """At most `POINTS` points of the full curve, dense at low rates."""
        return self._at(self.thresholds())

    def thresholds(self) -> Scores:
        """At most `POINTS` - 1 thresholds, in ascending order.

        All distinct scores if they are so few. Otherwise a quarter each: equally spaced among the
        negatives and among the positives, and on the logarithms of both rates.
        """
        distinct = self._distinct()
        if len(distinct) < POINTS:
            return distinct
        chosen = [distinct[:1]]
        share = np.linspace(0, 1, (POINTS - 2) // 4)
        for scores in (self.positives, self.negatives):
            places = np.concatenate([share * (len(scores) - 1), len(scores) ** share - 1])
            chosen.append(scores[::-1][np.round(places).astype(np.int64)])
        return np.unique(np.concatenate(chosen))

    def _distinct(self) -> Scores:
        return np.unique(np.concatenate([self.positives, self.negatives]))

    def _at(self, thresholds: Scores) -> Roc:
        fpr, tpr = (
            np.append(0.0, reached(scores, thresholds)[::-1] / len(scores))
            for scores in (self.negatives, self.positives)
        )
        return Roc(fpr=fpr, tpr=tpr)


def reached(
    scores: Scores, thresholds: Scores, side: Side = "left"
) -> Int64[np.ndarray, " thresholds"]:
    """How many of the scores, in ascending order, are at least each threshold.

    With side "right": how many are above it.
    """
    return np.asarray(len(scores) - np.searchsorted(scores, thresholds, side))


def negatives_needed(bound: float) -> int:
    """The fewest negatives that a false-positive rate can be estimated with: 10 / `bound`."""
    return math.ceil(FALSE_POSITIVES / bound * (1 - _ROUNDING))


def _sorted(name: str, scores: Scores) -> Scores:
    if scores.size == 0:
        raise DataError(f"0 {name}", "there is no curve", "score samples of both kinds")
    ordered = np.sort(scores)
    if np.isnan(ordered[-1]):  # NaNs are sorted last
        raise DataError(
            f"{np.count_nonzero(np.isnan(scores)):,} of {len(scores):,} {name}",
            "their score is NaN",
            "leave out models that diverged",
        )
    return ordered
