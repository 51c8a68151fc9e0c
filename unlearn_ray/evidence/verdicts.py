"""What the replicates of several methods bear: verdicts beside doing nothing, and ranks with ties.

A model's gap is its mean distance from the retrained models of its split, each metric's in units of
its noise floor, averaged over the metrics: 1 on average for one more retrained model. Two methods
are compared by the difference of their mean gaps, which is tested over the replicates.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float64

from unlearn_ray.evidence.floors import LEAST_FLOOR, Least, floors
from unlearn_ray.evidence.permutations import Models
from unlearn_ray.evidence.populations import JointTest, joint_test, replicates_needed

# By split seed, how far each replicate of a method is from each retrained model.
_Gaps = Mapping[int, Float64[np.ndarray, "replicates present"]]
# Differences of noise floors that are rounding.
_ROUNDING = 1e-9


class Verdict(StrEnum):
    """What can be said of a method at the stated level."""

    INDISTINGUISHABLE = "indistinguishable from retraining"
    BETTER = "better than doing nothing"
    WORSE = "worse than doing nothing"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Comparison:
    """Mean gap of one method less another's, in noise floors; NaN if no split bears it.

    Attributes:
        difference: below 0 if the first is nearer to retraining.
        low, high: its interval.
        p_value: two-sided, that both are equally near.
        level: 1 - the interval's confidence.
    """

    difference: float
    low: float
    high: float
    p_value: float
    level: float


@dataclass(frozen=True)
class Judgement:
    """A method beside doing nothing.

    Attributes:
        verdict: see `judge`.
        gap: its mean gap in noise floors; NaN if no split bears it.
        rank: 1 + the number of methods that are better at the level; equal ranks are ties.
        joint: whether it is distributed as retraining.
        nothing: its comparison with the original model.
        refused: why these numbers of models bear no verdict, and what would; "" if they do.
    """

    verdict: Verdict
    gap: float
    rank: int
    joint: JointTest
    nothing: Comparison
    refused: str = ""


def compare(
    first: Models,
    second: Models,
    retrained: Models,
    level: float = 0.05,
    least: Least = LEAST_FLOOR,
) -> Comparison:
    """Which of two methods is nearer to retraining, over the replicates that both have.

    The difference d_ij of replicate i's gaps from retrained model j varies with i and with j. The
    variance of its mean is the sum over splits of var_i(mean_j d) / n + var_j(mean_i d) / m
    (DeLong et al., 1988), whose degrees of freedom are Welch's; a bootstrap, which has neither,
    is too narrow at few replicates. The noise floor is taken as known: it is a unit. Splits with
    fewer than two shared replicates or retrained models do not count.
    """
    unit = floors(retrained, least)
    of_first, of_second = (_by_split(each, retrained, unit) for each in (first, second))
    return _compared(of_first, of_second, level)


def _compared(first: _Gaps, second: _Gaps, level: float) -> Comparison:
    from scipy import special  # `stats`, whose t these are, takes half a second to import

    parts = [_differences(first[s], second[s]) for s in sorted(first.keys() & second.keys())]
    parts = [each for each in parts if min(each.shape) > 1]
    if not parts:
        return Comparison(math.nan, math.nan, math.nan, math.nan, level)
    difference = float(np.mean([each.mean() for each in parts]))
    means = [each.mean(axis=axis) for each in parts for axis in (1, 0)]
    variances = np.array([each.var(ddof=1) / len(each) for each in means]) / len(parts) ** 2
    error = math.sqrt(variances.sum())
    if error < _ROUNDING:
        equal = abs(difference) < _ROUNDING
        return Comparison(difference, difference, difference, float(equal), level)
    freedom = error**4 / sum(v**2 / (len(m) - 1) for v, m in zip(variances, means, strict=True))
    half = float(special.stdtrit(freedom, 1 - level / 2)) * error
    p_value = 2 * float(special.stdtr(freedom, -abs(difference) / error))
    return Comparison(difference, difference - half, difference + half, p_value, level)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values; a NaN is a test that was not made."""
    adjusted, largest = [math.nan] * len(p_values), 0.0
    made = sorted((p, number) for number, p in enumerate(p_values) if not math.isnan(p))
    for done, (p, number) in enumerate(made):
        largest = max(largest, min(1.0, (len(made) - done) * p))
        adjusted[number] = largest
    return adjusted


def ranks(
    methods: Mapping[str, Models],
    retrained: Models,
    level: float = 0.05,
    least: Least = LEAST_FLOOR,
) -> dict[str, int]:
    """1 + the number of methods that are nearer to retraining, by Holm over all pairs."""
    unit = floors(retrained, least)
    return _ranks({name: _by_split(each, retrained, unit) for name, each in methods.items()}, level)


def _ranks(methods: Mapping[str, _Gaps], level: float) -> dict[str, int]:
    names = [*methods]
    pairs = [(a, b) for number, a in enumerate(names) for b in names[number + 1 :]]
    if not pairs:
        return dict.fromkeys(names, 1)
    compared = [_compared(methods[a], methods[b], level) for a, b in pairs]
    better = dict.fromkeys(names, 0)
    adjusted = holm([each.p_value for each in compared])
    for (a, b), each, p in zip(pairs, compared, adjusted, strict=True):
        if p <= level:
            better[b if each.difference < 0 else a] += 1
    return {name: 1 + count for name, count in better.items()}


def judge(
    methods: Mapping[str, Models],
    original: Models,
    retrained: Models,
    level: float = 0.05,
    least: Least = LEAST_FLOOR,
) -> dict[str, Judgement]:
    """The verdict on each method.

    - worse than doing nothing: its gap is larger than the original model's;
    - better than doing nothing: its gap is smaller, yet it differs from retraining;
    - indistinguishable from retraining: its gap is smaller, and the joint test, whose p-values are
      not adjusted, finds no difference from retraining. A method that cannot be told from doing
      nothing, either, is not called so: the replicates are then too few, or the forget set leaves
      no trace;
    - undecided: its gap is neither, or the joint test cannot reach the level with so few models.

    The comparisons of gaps are adjusted over the methods by Holm.
    """
    if not methods:
        return {}
    unit = floors(retrained, least)
    gaps = {name: _by_split(each, retrained, unit) for name, each in methods.items()}
    of_original = _by_split(original, retrained, unit)
    nothing = {name: _compared(each, of_original, level) for name, each in gaps.items()}
    adjusted = holm([each.p_value for each in nothing.values()])
    placed = _ranks(gaps, level)
    judged = {}
    for (name, models), p in zip(methods.items(), adjusted, strict=True):
        joint = joint_test(models, retrained, least)
        refused = _refusal(joint, models.keys() & retrained.keys(), level)
        verdict = Verdict.UNDECIDED if refused else _verdict(nothing[name], p, joint, level)
        judged[name] = Judgement(
            verdict, _mean_gap(gaps[name]), placed[name], joint, nothing[name], refused
        )
    return judged


def mean_gap(models: Models, retrained: Models, least: Least = LEAST_FLOOR) -> float:
    """Mean gap of one method's models, in noise floors, averaged over splits; NaN without any."""
    return _mean_gap(_by_split(models, retrained, floors(retrained, least)))


def _mean_gap(gaps: _Gaps) -> float:
    of_splits = [
        np.nanmean(gaps[split])
        for split in sorted(gaps)
        if gaps[split].size and not np.isnan(gaps[split]).all()
    ]
    return float(np.mean(of_splits)) if of_splits else math.nan


def _verdict(nothing: Comparison, p_value: float, joint: JointTest, level: float) -> Verdict:
    if not p_value <= level:
        return Verdict.UNDECIDED
    if nothing.difference > 0:
        return Verdict.WORSE
    return Verdict.BETTER if joint.p_value <= level else Verdict.INDISTINGUISHABLE


def _refusal(joint: JointTest, splits: Collection[int], level: float) -> str:
    if joint.smallest_p <= level:
        return ""
    needed = replicates_needed(max(1, len(splits)), level)
    return (
        f"so few models give no p-value below {joint.smallest_p:.2g}, and the level is {level:g}; "
        f"train {needed} replicates or more"
    )


def _gaps(
    models: Float64[np.ndarray, "replicates metrics"],
    retrained: Float64[np.ndarray, "retrained metrics"],
    unit: Float64[np.ndarray, " metrics"],
) -> Float64[np.ndarray, "replicates present"]:
    """Mean over metrics of |u_i - r_j| in noise floors; a row of NaN for an absent replicate."""
    kept = retrained[~np.isnan(retrained).any(axis=1)]
    return np.asarray((np.abs(models[:, None] - kept[None]) / unit).mean(axis=2))


def _by_split(models: Models, retrained: Models, unit: Float64[np.ndarray, " metrics"]) -> _Gaps:
    """The gaps of one method's models from the retrained ones of their splits."""
    splits = models.keys() & retrained.keys()
    return {split: _gaps(models[split], retrained[split], unit) for split in splits}


def _differences(
    first: Float64[np.ndarray, "replicates present"],
    second: Float64[np.ndarray, "others present"],
) -> Float64[np.ndarray, "shared present"]:
    """The gaps of two methods' shared replicates, the first's less the second's."""
    shared = min(len(first), len(second))
    rows = first[:shared] - second[:shared]
    return np.asarray(rows[~np.isnan(rows).any(axis=1)])
