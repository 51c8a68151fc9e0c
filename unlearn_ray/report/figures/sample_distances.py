"""How far models are apart on each forgotten sample, thinned."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.report.drawing import (
    MODELS,
    by_study,
    inline,
    percent,
    short,
)
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.observed import MOST_SAMPLES, Outputs, left_out
from unlearn_ray.report.theme import GREY

if TYPE_CHECKING:
    from unlearn_ray.report.evidence import SweepEvidence

# Samples that are drawn of each model.
DRAWN = 100
Distances = Float64[np.ndarray, " samples"]
_DISTANCE = (
    "Each point is a forgotten sample. A distance is that of two models' probabilities of its "
    "classes, by Jensen and Shannon: 0 if they are the same, 1 if nothing is in common."
)


def sample_distances(evidence: SweepEvidence) -> list[Figure]:
    """Distances from retrained models, against those among them, and against those before.

    The former takes two retrained models of the split.
    """
    observed = evidence.observations
    found = {name: observed.outputs(name) for name in (ORIGINAL, RETRAIN, *observed.studies)}
    retrained, original = found[RETRAIN].values, found[ORIGINAL].values
    studies = {name: found[name].values for name in observed.studies if found[name].values}
    if not retrained or not studies:
        return []
    rest = left_out({name: each.missing for name, each in found.items()}, observed.more)
    after = {name: between(of, retrained) for name, of in studies.items()}
    before = between(original, retrained) if original else None
    figures = []
    if len(retrained) > 1:
        among = {**({ORIGINAL: before} if before is not None else {}), **after}
        figures.append(_beside_floor(among, within(retrained), len(retrained), rest))
    if before is not None:
        figures.append(_beside_earlier(after, before, rest))
    return figures


def distance(one: Float64[np.ndarray, "n c"], other: Float64[np.ndarray, "n c"]) -> Distances:
    """The Jensen-Shannon distance of two models on each sample, to the base 2: from 0 to 1.

    Endres and Schindelin, "A New Metric for Probability Distributions", 2003.

    Args:
        one, other: probabilities of each class.
    """
    from scipy.special import entr

    middle, single, further = (entr(each).sum(axis=1) for each in ((one + other) / 2, one, other))
    return np.asarray(np.sqrt(np.clip((middle - (single + further) / 2) / np.log(2), 0, 1)))


def between(models: Sequence[Outputs], others: Sequence[Outputs]) -> Distances:
    """The mean distance over all pairs of a model and another one of another replicate.

    Models of one replicate begin from the same weights, retrained models of several do not. Where
    there is one replicate alone, its models are compared.
    """
    pairs = list(itertools.product(models, others))
    apart = [pair for pair in pairs if pair[0].run != pair[1].run] or pairs
    return np.asarray(np.mean([distance(*_probabilities(pair)) for pair in apart], axis=0))


def within(models: Sequence[Outputs]) -> Distances:
    """The mean distance over all pairs of different models."""
    pairs = itertools.combinations(models, 2)
    return np.asarray(np.mean([distance(*_probabilities(pair)) for pair in pairs], axis=0))


def _probabilities(pair: tuple[Outputs, Outputs]) -> list[np.ndarray]:
    return [each.probabilities for each in pair]


def _beside_floor(
    models: Mapping[str, Distances], floor: Distances, count: int, rest: str
) -> Figure:
    further = _in_words({name: float(np.mean(of > floor)) for name, of in models.items()})
    return Figure(
        name="sample-distances-floor",
        title="Each forgotten sample: distance from retraining against that among retrained models",
        caption=(
            f"{_DISTANCE} Across: among {count} retrained models; up: from them. Above the line, a "
            f"model differs more from retrained models than these do from each other. Share of "
            f"such samples: {further}.{rest}"
        ),
        chart=_chart(models, floor, ("among retrained", "from retrained")),
    )


def _beside_earlier(models: Mapping[str, Distances], before: Distances, rest: str) -> Figure:
    further = _in_words({name: float(np.mean(of > before)) for name, of in models.items()})
    return Figure(
        name="sample-distances-before",
        title="Each forgotten sample: distance from retraining after unlearning against before",
        caption=(
            f"{_DISTANCE} Across: of the original from retrained models; up: of the unlearned one. "
            f"Below the line, unlearning brought the sample nearer to retraining. Share of samples "
            f"that it took further away: {further}.{rest}"
        ),
        chart=_chart(models, before, ("before", "after")),
    )


def _in_words(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {percent(share)}" for name, share in shares.items())


def thinned(count: int) -> np.ndarray:
    """Which samples are drawn: at most `DRAWN`, evenly spaced in their order."""
    return np.unique(np.linspace(0, count - 1, min(count, DRAWN)).round().astype(int))


def _chart(models: Mapping[str, Distances], across: Distances, titles: tuple[str, str]) -> Any:
    import altair as alt

    rows = [
        {"s": name, "x": short(across[sample]), "y": short(of[sample])}
        for name, of in models.items()
        for sample in thinned(min(len(of), MOST_SAMPLES))
    ]
    base = alt.Chart()
    scale = alt.Scale(domain=[0, 1])
    x, y = (
        make(f"{name}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=3))
        for make, name, title in ((alt.X, "x", titles[0]), (alt.Y, "y", titles[1]))
    )
    line = base.mark_rule(color=GREY, strokeDash=[4, 2]).encode(
        x=alt.datum(0), y=alt.datum(0), x2=alt.datum(1), y2=alt.datum(1)
    )
    points = base.mark_point(color=MODELS["u"][1], size=14, opacity=0.6, filled=True).encode(
        x=x, y=y, tooltip=[alt.Tooltip("x:Q", title=titles[0]), alt.Tooltip("y:Q", title=titles[1])]
    )
    return (
        alt.layer(line, points, data=inline(rows))
        .properties(width=140, height=140)
        .facet(**by_study(models))
    )
