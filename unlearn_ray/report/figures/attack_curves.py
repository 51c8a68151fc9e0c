"""ROC curves of a membership attack on each model, on logarithmic axes, with the null's band."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.evidence.roc import FALSE_POSITIVES, Ranking, negatives_needed
from unlearn_ray.report.drawing import percent
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.observed import Found, Outputs, left_out
from unlearn_ray.report.rates import STATED, Rates, chance, drawn_rates, panel, panels, too_few

if TYPE_CHECKING:
    from unlearn_ray.report.evidence import SweepEvidence

_CAPTION = (
    "The attack takes the most confident samples for members of the training set. Members are the "
    "forget set; the others are test samples of the same classes. A curve on the band cannot tell "
    "them apart."
)


@dataclass(frozen=True)
class Curve:
    """True-positive rates at given false-positive rates, one row per run.

    Attributes:
        tpr: (runs, rates).
        positives, negatives: how many samples there are of each kind.
    """

    tpr: Float64[np.ndarray, "runs rates"]
    positives: int
    negatives: int


def attack_curves(evidence: SweepEvidence) -> list[Figure]:
    """One panel for each study's winner."""
    observed = evidence.observations
    found = {name: observed.outputs(name) for name in (ORIGINAL, RETRAIN, *observed.studies)}
    missing = {name: [*each.missing] for name, each in found.items()}
    negatives = min(
        (len(rankings[0].negatives) for each in found.values() if (rankings := _rankings(each))),
        default=0,
    )
    if negatives < FALSE_POSITIVES:
        return []
    rates = drawn_rates(negatives)
    curves = {name: curve for name, each in found.items() if (curve := curve_of(each, rates))}
    studies = [name for name in observed.studies if name in curves]
    if not studies:
        return []
    first = curves[studies[0]]
    where = band(curves.get(RETRAIN), first, rates)
    kept = {letter: curves[of] for letter, of in (("o", ORIGINAL), ("r", RETRAIN)) if of in curves}
    rows = [
        row
        for name in studies
        for row in panel(
            name,
            {k: of.tpr.mean(axis=0) for k, of in {**kept, "u": curves[name]}.items()},
            rates,
            where,
            first.positives,
        )
    ]
    return [
        Figure(
            name="attack-curves",
            title="Can an attack tell forgotten samples from samples never seen?",
            caption=(
                f"{_CAPTION} {_band_in_words(curves.get(RETRAIN), first)}"
                f"{_stated(found, negatives)} Seed {observed.seed}; curves are means over "
                f"replicates.{left_out(missing, observed.more)}"
            ),
            chart=panels(rows, [*kept, "u"], studies),
        )
    ]


def curve_of(model: Found[Outputs], rates: Rates) -> Curve | None:
    """The curves of a model's runs; None without runs that have samples of both kinds."""
    rankings = _rankings(model)
    if not rankings:
        return None
    tpr = np.array([[one.tpr_at(rate) for rate in rates] for one in rankings])
    return Curve(tpr, len(rankings[0].positives), len(rankings[0].negatives))


def _rankings(model: Found[Outputs]) -> list[Ranking]:
    rankings = []
    for one in model.values:
        unseen = np.isin(one.labels["test"], one.labels["forget"])
        try:
            rankings.append(Ranking(one.confidence["forget"], one.confidence["test"][unseen]))
        except DataError:  # there are none of one kind
            continue
    return rankings


def band(retrained: Curve | None, other: Curve, rates: Rates) -> tuple[Rates, Rates]:
    """Where curves lie if there is nothing to find, at each rate.

    With several retrained models it is their range; otherwise that of chance, for as many samples.
    """
    if retrained is not None and len(retrained.tpr) > 1:
        return retrained.tpr.min(axis=0), retrained.tpr.max(axis=0)
    return chance(other.positives, other.negatives, rates)


def _band_in_words(retrained: Curve | None, other: Curve) -> str:
    if retrained is not None and len(retrained.tpr) > 1:
        return f"The band is the range of {len(retrained.tpr)} retrained models."
    return (
        "At each rate alone the band holds 95 % of curves by chance (so about a third of them "
        f"leave it somewhere), for {other.positives:,} forgotten and "
        f"{other.negatives:,} other samples: it takes several replicates to see how retrained "
        "models vary."
    )


def _stated(found: Mapping[str, Found[Outputs]], negatives: int) -> str:
    """True-positive rates in words, and which the samples are too few for."""
    sentences = []
    for bound in STATED:
        if negatives < negatives_needed(bound):
            continue
        means = {
            name: float(np.mean([one.tpr_at(bound) for one in rankings]))
            for name, each in found.items()
            if (rankings := _rankings(each))
        }
        values = ", ".join(f"{name} {percent(value)}" for name, value in means.items())
        sentences.append(f" True-positive rate at {percent(bound)} false positives: {values}.")
    return "".join(sentences) + too_few(negatives)
