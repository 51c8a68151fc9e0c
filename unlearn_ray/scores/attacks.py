"""Base class of the membership attacks on a bank of masks: their estimates and ROC curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.schema import schema
from unlearn_ray.evidence.estimates import Estimate
from unlearn_ray.evidence.held_out import Values
from unlearn_ray.evidence.masks import OUT, SIZE, States, among, permuted, require_blocks
from unlearn_ray.evidence.roc import Ranking, negatives_needed
from unlearn_ray.evidence.roc_intervals import half_widths, prediction_range
from unlearn_ray.scores.base import LEVEL, MaskedBank, MaskedScore, Scores

# Reruns of an attack with permuted states, for its null.
PERMUTATIONS = 20
# False-positive rates at which true-positive rates are reported, by column.
BOUNDS = {"tpr_at_1": 0.01, "tpr_at_0_1": 0.001}


@dataclass(frozen=True)
class Attack:
    """An attack on a bank.

    Attributes:
        members: the states that are to be told from OUT.
        scores: of all samples under all models, given the samples' states, larger for likelier
            members. A block's scores depend on its states in no way.
    """

    members: tuple[int, ...]
    scores: Callable[[States], Values]


@schema
class MaskedAttack(MaskedScore):
    """An attack that tells a bank's members from samples that a model was not trained on.

    All samples under all models make one ROC curve. Each of its numbers, in percent, stands beside
    its null: the whole attack is run again on states that were permuted between members and OUT,
    within blocks of models and for each sample alone. Its interval is for other models of the same
    kind and the same samples, from the spread between blocks; it is never shorter than the null's
    range, so that far from chance it holds more than 95 %.

    Columns:
        auc: area under the curve, ties counting half. 50 is chance.
        tpr_at_1, tpr_at_0_1: the largest true-positive rate at a false-positive rate of at most
            1 % (0.1 %). Chance is 1 (0.1). With fewer than 1,000 (10,000) negatives it is refused.
    """

    def attacks(self, bank: MaskedBank) -> Mapping[str, Attack]:
        """The attacks, by the name that their columns begin with.

        Raises:
            DataError: the bank is none that the attack can be run on.
        """
        raise NotImplementedError

    def measure(self, bank: MaskedBank) -> Scores:
        """Estimates of each attack, and its ROC curve, thinned, as `NAME_fpr` and `NAME_tpr`.

        Raises:
            DataError: the bank is too small, its states are not balanced in blocks, or a signal
                is not finite.
        """
        require_blocks(bank.states, self.least)
        for signal in (bank.original, bank.unlearned, bank.original_unseen, bank.unlearned_unseen):
            _require_finite(signal)
        estimates: dict[str, Estimate] = {}
        arrays: dict[str, np.ndarray] = {}
        for name, attack in self.attacks(bank).items():
            scores = attack.scores(bank.states)
            ranking = _ranking(scores, bank.states, attack.members)
            curve = ranking.thinned()
            arrays |= {f"{name}_fpr": curve.fpr, f"{name}_tpr": curve.tpr}
            estimates |= _estimates(name, attack, bank.states, scores, ranking)
        return Scores(estimates, arrays)


def attack_columns(name: str, header: str) -> dict[str, str]:
    """The columns of an attack, with their headers."""
    return {
        f"{name}_auc": f"{header}, AUC",
        f"{name}_tpr_at_1": f"{header}, TPR at 1 % FPR",
        f"{name}_tpr_at_0_1": f"{header}, TPR at 0.1 % FPR",
    }


def _estimates(
    name: str, attack: Attack, states: States, scores: Values, ranking: Ranking
) -> dict[str, Estimate]:
    """Of all columns of one attack."""
    models, samples = states.shape
    negatives = len(ranking.negatives)
    bounds = {of: b for of, b in BOUNDS.items() if negatives >= negatives_needed(b)}
    members, out = among(states, attack.members), states == OUT
    bootstrap = np.random.default_rng(stable_seed("blocks", name, models))
    halves = 100 * half_widths(
        scores, members, out, ranking.thresholds(), [*bounds.values()], LEVEL, bootstrap
    )
    found = _percentages(ranking, bounds)
    nulls = np.array([_null(name, attack, states, bounds, n) for n in range(PERMUTATIONS)])
    estimates = {
        f"{name}_{column}": _estimate(value, half, null, models)
        for column, value, half, null in zip(["auc", *bounds], found, halves, nulls.T, strict=True)
    }
    return estimates | {
        f"{name}_{column}": _refused(bound, negatives, models, samples)
        for column, bound in BOUNDS.items()
        if column not in bounds
    }


def _null(
    name: str, attack: Attack, states: States, bounds: Mapping[str, float], number: int
) -> list[float]:
    """The numbers of the attack where states say nothing."""
    generator = np.random.default_rng(stable_seed("null", name, len(states), number))
    drawn = permuted(states, attack.members, generator)
    return _percentages(_ranking(attack.scores(drawn), drawn, attack.members), bounds)


def _ranking(scores: Values, states: States, members: tuple[int, ...]) -> Ranking:
    return Ranking(scores[among(states, members)], scores[states == OUT])


def _percentages(ranking: Ranking, bounds: Mapping[str, float]) -> list[float]:
    """The area, then the rate at each bound."""
    return [100 * ranking.auc(), *(100 * ranking.tpr_at(bound) for bound in bounds.values())]


def _estimate(
    value: float, half: float, null: Float64[np.ndarray, " draws"], models: int
) -> Estimate:
    mean, null_low, null_high = prediction_range(null.tolist(), LEVEL)
    # Scores of all blocks rest on the same fits, whose spread resampled scores do not have. Where
    # there is nothing to find it is as large as their own; the null's reruns are fitted anew.
    half = max(half, (null_high - null_low) / 2)
    low, high, null_low, null_high = np.clip(
        [value - half, value + half, null_low, null_high], 0, 100
    ).tolist()
    return Estimate(value, low, high, mean, null_low, null_high, models)


def _refused(bound: float, negatives: int, models: int, samples: int) -> Estimate:
    needed = negatives_needed(bound)
    # Half of a bank's models have each sample OUT.
    enough = SIZE * math.ceil(2 * needed / samples / SIZE)
    reason = (
        f"a false-positive rate of {100 * bound:g} % needs {needed:,} negatives, and {models} "
        f"models have {negatives:,} of these samples; {enough:,} models have enough"
    )
    nan = math.nan
    return Estimate(nan, nan, nan, nan, nan, nan, models=models, refused=reason)


def _require_finite(signal: Values) -> None:
    models = np.flatnonzero(~np.isfinite(signal).all(axis=1))
    if models.size:
        raise DataError(
            f"model {models[0]} of a bank",
            f"a signal is not finite, of {models.size} models in all",
            "leave out the blocks of models that diverged",
        )
