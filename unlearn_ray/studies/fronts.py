"""Which trials of a study are best: order under constraints, Pareto fronts and their knees.

A trial's *mark* is its violation and then its mean score by each objective, all over the same
seeds. The violation is the sum of what the means of the constrained columns are beyond their
bounds; 0 if all constraints are kept. One mark *dominates* another if its violation is smaller,
or if the violations are equal, no score is larger, and one is smaller. So whatever keeps the
constraints dominates whatever does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# One number per objective, or per constraint.
Vector = tuple[float, ...]
# A trial under one seed: a number, or one per objective where there are several.
Score = float | Vector


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean, exactly rounded; NaN without values."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else math.nan


def means(scores: Sequence[Score]) -> Vector:
    """The mean score by each objective; empty without seeds."""
    return tuple(map(mean, zip(*map(vector, scores), strict=True)))


def vector(score: Score) -> Vector:
    """A score as one number per objective."""
    return score if isinstance(score, tuple) else (score,)


def mark(scores: Sequence[Score], excesses: Sequence[Vector] = ()) -> Vector:
    """The mark of a trial.

    Args:
        scores: one per seed.
        excesses: for each seed, what each constrained column is beyond its bound.
    """
    beyond = (
        math.inf if math.inf in column else mean(column) for column in zip(*excesses, strict=True)
    )
    return (math.fsum(max(0.0, excess) for excess in beyond), *means(scores))


def dominates(one: Vector, other: Vector) -> bool:
    """Whether a mark dominates another; NaN neither dominates nor is dominated."""
    if one[0] != other[0]:
        return one[0] < other[0]
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def front(marks: Sequence[Vector]) -> list[int]:
    """The positions of the marks that no other one dominates, by score, the first objective first.

    Of equal marks the first counts. Marks with NaN are left out, and so are those that lack an
    objective which others have.
    """
    width = max(map(len, marks), default=0)
    whole = [
        position
        for position, each in enumerate(marks)
        if len(each) == width and not any(map(math.isnan, each))
    ]
    best: list[int] = []
    for position in sorted(whole, key=lambda position: (marks[position], position)):
        # Whatever dominates it stands before it.
        if not any(
            marks[other] == marks[position] or dominates(marks[other], marks[position])
            for other in best
        ):
            best.append(position)
    return best


def knee(marks: Sequence[Vector]) -> int:
    """The position of a front's knee: the mark nearest to the best of every objective.

    Each objective is scaled to the front's own range, 0 its best value and 1 its worst; the knee
    has the smallest Euclidean norm. Where a front does not vary in an objective, that counts
    nothing. Of equal norms the smaller score counts, by the first objective, then the next.

    Args:
        marks: of a front; at least one.
    """
    columns = list(zip(*(each[1:] for each in marks), strict=True))
    lows, spans = [min(each) for each in columns], [max(each) - min(each) for each in columns]

    def norm(each: Vector) -> float:
        scaled = (
            (value - low) / span if span > 0 else 0.0
            for value, low, span in zip(each[1:], lows, spans, strict=True)
        )
        return math.hypot(*scaled)

    return min(range(len(marks)), key=lambda position: (norm(marks[position]), marks[position]))


@dataclass(frozen=True)
class Rank:
    """The bar of a study with several objectives or constraints, after one seed.

    A trial's rank is the number of others that dominate it, all by their marks over the same
    seeds. Above the bar it stops; what nothing dominates never does.

    Attributes:
        most: the largest rank that goes on.
        marks: of the other trials that decide: those of a rank up to `most`. Any other one is
            dominated by more of these than `most`, and so is what it dominates.
    """

    most: int
    marks: tuple[Vector, ...]

    def stops(self, scores: Sequence[Score], excesses: Sequence[Vector]) -> bool:
        """Whether a trial with these scores and excesses, one per seed so far, stops."""
        own = mark(scores, excesses)
        return sum(dominates(other, own) for other in self.marks) > self.most
