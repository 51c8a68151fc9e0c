"""Panels of ROC curves on logarithmic axes: a band where there is nothing to find, and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from unlearn_ray.evidence.roc import FALSE_POSITIVES, negatives_needed
from unlearn_ray.report.drawing import (
    by_study,
    inline,
    line_scales,
    percent,
    short,
)
from unlearn_ray.report.theme import GREY

if TYPE_CHECKING:
    import altair

# False-positive rates at which true-positive rates are stated.
STATED = (0.001, 0.01, 0.1)
POINTS = 24
# Of the band of chance.
_LEVEL = 0.95

Rates = Float64[np.ndarray, " rates"]


def drawn_rates(negatives: int) -> Rates:
    """The false-positive rates of a curve: from the least that these negatives bear, to 1."""
    return np.geomspace(min(1.0, FALSE_POSITIVES / negatives), 1, POINTS)


def too_few(negatives: int) -> str:
    """A sentence on the stated rates that take more negatives; empty if none does."""
    refused = [bound for bound in STATED if negatives < negatives_needed(bound)]
    if not refused:
        return ""
    rates = " and ".join(percent(bound) for bound in refused)
    return (
        f" There are {negatives:,} samples never seen, too few for rates at {rates} "
        f"({negatives_needed(refused[0]):,} are needed for {percent(refused[0])}), so curves begin "
        f"at {percent(FALSE_POSITIVES / negatives)}."
    )


def chance(positives: int, negatives: int, rates: Rates) -> tuple[Rates, Rates]:
    """The central 95 % of true-positive rates by chance alone, at each false-positive rate.

    If all samples are alike, the number of positives above the k-th largest of n negatives has a
    beta-binomial distribution with parameters k and n + 1 - k.
    """
    from scipy import stats

    passed = np.floor(rates * negatives * (1 + 1e-12))
    order = np.minimum(passed + 1, negatives)  # of the negative that no threshold passes
    drawn = stats.betabinom(positives, order, negatives + 1 - order)
    low, high = (drawn.ppf((1 + sign * _LEVEL) / 2) / positives for sign in (-1, 1))
    every = passed >= negatives
    return np.where(every, 1.0, low), np.where(every, 1.0, high)


def panel(
    name: str,
    curves: Mapping[str, Rates],
    rates: Rates,
    band: tuple[Rates, Rates],
    positives: int,
) -> list[dict[str, Any]]:
    """The data of one panel.

    Args:
        name: its header.
        curves: true-positive rates, by the letter of a model.
        rates: the false-positive rates.
        band: lower and upper end of the band.
        positives: how many samples there are.
    """
    # What is 0 is below any logarithmic axis: bands reach its end, lines begin above it.
    least = 0.5 / positives
    return [
        {
            "s": name,
            "x": short(rate),
            "l": short(max(low, least)),
            "h": short(max(high, least)),
            **{k: short(of[place]) for k, of in curves.items() if of[place] >= least},
        }
        for place, (rate, low, high) in enumerate(zip(rates, *band, strict=True))
    ]


def panels(
    rows: list[dict[str, Any]], letters: Sequence[str], names: Sequence[str]
) -> altair.FacetChart:
    """A chart of panels.

    Args:
        rows: of all panels.
        letters: of the models that are drawn.
        names: of the panels, in order.
    """
    import altair as alt

    log = alt.Scale(type="log", nice=False)
    rate = alt.Axis(format="~%", values=[1e-4, 1e-3, 0.01, 0.1, 1])
    x = alt.X("x:Q", title="false positives", scale=log, axis=rate)
    title = "true positives"
    base = alt.Chart()
    area = base.mark_area(color=GREY, opacity=0.3).encode(
        x=x, y=alt.Y("l:Q", title=title, scale=log, axis=rate), y2="h:Q"
    )
    lines = (
        base.transform_fold(list(letters), as_=["m", "y"])
        .transform_filter("isValid(datum.y)")
        .mark_line(strokeWidth=1.5)
        .encode(
            x=x,
            y=alt.Y("y:Q", title=title, scale=log, axis=rate),
            tooltip=[
                alt.Tooltip("x:Q", title="false positives", format=".2%"),
                alt.Tooltip("y:Q", title=title, format=".2%"),
            ],
            **line_scales(letters),
        )
    )
    return (
        alt.layer(area, lines, data=inline(rows))
        .properties(width=140, height=140)
        .facet(**by_study(names))
    )
