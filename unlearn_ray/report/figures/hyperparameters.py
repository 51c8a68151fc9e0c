"""What each search tried: parallel coordinates, and how much each field matters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unlearn_ray.report.drawing import inline
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.searches import Search
from unlearn_ray.report.theme import BLUE, INK, VERMILION

if TYPE_CHECKING:
    import altair
    import numpy as np

    from unlearn_ray.report.evidence import SweepEvidence

# How to read the charts of a search.
READING = (
    "Each line is a complete trial: its values of the fields that were searched, and its mean"
    " score, the best at the bottom. The best trial is orange and thick, the best quarter of the"
    " others blue. Fields with numbers of several magnitudes have logarithmic axes."
)
_SCORE = "score"
_FEWEST_TO_RANK = 5
_MOST_LINES = 200
_RATIO_OF_A_LOG_AXIS = 30
_LONGEST_LABEL = 16
_MOST_LABELS = 9
_STEP = 26
_WORST, _BEST_QUARTER, _WINNER = "others", "best quarter", "best"


def parallel_coordinates(evidence: SweepEvidence) -> list[Figure]:
    """A chart for each study that searched: a line per trial through its values and its score."""
    return [
        Figure(
            name=f"search-{number}",
            title=f"What the search of {search.study} tried",
            caption=f"{len(search.scores)} complete trials; the best is {_named(search)}.",
            chart=_coordinates(search),
        )
        for number, search in enumerate(evidence.searches, 1)
    ]


def importances(evidence: SweepEvidence) -> list[Figure]:
    """How closely each searched field goes with the score, by rank."""
    cells = [
        {"study": search.study, "field": field, **ranked}
        for search in evidence.searches
        for field, values in search.fields.items()
        if (ranked := _rank(values, search.scores))
    ]
    if not cells:
        return []
    strongest = max(cells, key=lambda cell: cell["strength"])
    return [
        Figure(
            name="importances",
            title="How much each field matters",
            caption="Spearman's rank correlation of each searched field with the score, over a"
            " study's complete trials: from -1 (larger values are better, since scores are"
            " minimised) over 0 to 1. Of choices the correlation ratio of the ranks, 0 to 1. It"
            " sees each field alone, without interactions, and a search that has settled on good"
            f" values leaves little to see. The strongest: {strongest['field']} of"
            f" {strongest['study']} ({strongest['label']}, {strongest['n']} trials).",
            chart=_heat(cells),
        )
    ]


def _is_numeric(values: Sequence[Any]) -> bool:
    return all(not isinstance(value, str) for value in values)


def _named(search: Search) -> str:
    best = ", ".join(f"{name} = {_short(values[0])}" for name, values in search.fields.items())
    return f"trial {search.numbers[0]}, score {search.scores[0]:.3g}, {best}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else f"{value:.4g}"
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"


def _heights(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Each value's place on its axis, from 0 to 1, and the axis's labels with theirs."""
    if not _is_numeric(values):
        # A field that some trials lack has numbers, and then a word.
        choices = sorted(set(values), key=lambda one: (isinstance(one, str), one))
        places = {one: place / max(1, len(choices) - 1) for place, one in enumerate(choices)}
        shown = choices if len(choices) <= _MOST_LABELS else [choices[0], choices[-1]]
        return [places[one] for one in values], [(places[one], _short(one)) for one in shown]
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low >= _RATIO_OF_A_LOG_AXIS
    scaled = [math.log(value) if logarithmic else float(value) for value in values]
    begin, span = min(scaled), (max(scaled) - min(scaled)) or 1.0
    return [(each - begin) / span for each in scaled], [(0.0, _short(low)), (1.0, _short(high))]


def _coordinates(search: Search) -> altair.TopLevelMixin:
    import altair as alt

    lines, ticks = [], []
    quarter = max(1, len(search.scores) // 4)
    kept = min(len(search.scores), _MOST_LINES)
    for field, values in {**search.fields, _SCORE: search.scores}.items():
        heights, labels = _heights(values)
        ticks += [
            {"field": field, "at": round(at, 4), "label": _short(text)} for at, text in labels
        ]
        for place in range(kept):
            group = _WINNER if not place else _BEST_QUARTER if place <= quarter else _WORST
            point = {"trial": search.numbers[place], "field": field, "group": group}
            lines.append({**point, "at": round(heights[place], 4), "value": _short(values[place])})
    groups = [_WORST, _BEST_QUARTER, _WINNER]
    x = alt.X(
        "field:N", title=None, sort=[*search.fields, _SCORE],
        axis=alt.Axis(labelAngle=0, orient="top", grid=True, gridOpacity=0.5, domain=False,
                      ticks=False, labelFontWeight="bold", labelOverlap=False, labelLimit=110),
        scale=alt.Scale(type="point", padding=0.4),
    )  # fmt: skip
    y = alt.Y("at:Q", axis=None, scale=alt.Scale(domain=[-0.08, 1.08]))
    is_worst, is_best = (f"{alt.datum.group == group}" for group in (_WORST, _WINNER))
    colours = alt.Scale(domain=groups, range=[INK, BLUE, VERMILION])
    line = (
        alt.Chart(inline(lines))
        .mark_line()
        .encode(
            x=x,
            y=y,
            detail=alt.Detail("trial:N"),
            color=alt.Color("group:O", scale=colours, legend=None, sort=groups),
            opacity=alt.OpacityValue(0.9, condition={"test": is_worst, "value": 0.2}),
            strokeWidth=alt.StrokeWidthValue(1.3, condition={"test": is_best, "value": 3.5}),
        )
    )
    text = (
        alt.Chart(inline(ticks))
        .mark_text(align="left", dx=5, color=INK, fontSize=11)
        .encode(x=x, y=y, text=alt.Text("label:N"))
    )
    chart: altair.TopLevelMixin = alt.layer(line, text).properties(width="container", height=200)
    return chart


def _rank(values: Sequence[Any], scores: Sequence[float]) -> dict[str, Any] | None:
    """Strength (0 to 1), label and trials of a cell; None if there are too few for one."""
    numeric = [not isinstance(value, str) for value in values]
    if any(numeric):  # of the trials that have the field
        values = [value for value, kept in zip(values, numeric, strict=True) if kept]
        scores = [score for score, kept in zip(scores, numeric, strict=True) if kept]
    count, choices = len(values), len(set(values))
    if count < _FEWEST_TO_RANK or choices < 2:
        return None
    ranks = _ranks(scores)
    if any(numeric):
        found = _correlation(_ranks(values), ranks) if len(set(scores)) > 1 else 0.0
        return {"strength": round(abs(found), 3), "label": f"{found:+.2f}", "n": count}
    if 2 * choices > count:
        return None  # nearly each trial its own choice: that would be 1 whatever the scores
    ratio = _correlation_ratio(values, ranks)
    return {"strength": round(ratio, 3), "label": f"{ratio:.2f}", "n": count}


def _ranks(values: Sequence[float]) -> np.ndarray:
    """From 1; equal values have the mean of theirs."""
    import pandas as pd  # `scipy.stats` takes half a second to import

    return pd.Series(values, dtype=float).rank().to_numpy()


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    import numpy as np

    return float(np.corrcoef(np.column_stack([one, other]), rowvar=False)[1, 0])


def _correlation_ratio(values: Sequence[Any], ranks: np.ndarray) -> float:
    """Square root of the share of the ranks' variance that lies between the choices."""
    total = float(((ranks - ranks.mean()) ** 2).sum())
    between = 0.0
    for choice in set(values):
        own = ranks[[value == choice for value in values]]
        between += len(own) * float(own.mean() - ranks.mean()) ** 2
    return math.sqrt(between / total) if total > 0 else 0.0


def _heat(cells: list[dict[str, Any]]) -> altair.TopLevelMixin:
    import altair as alt

    base = alt.Chart(inline(cells)).encode(
        x=alt.X("field:N", title=None, axis=alt.Axis(labelAngle=-35, orient="bottom")),
        y=alt.Y("study:N", title=None, sort=None),
        tooltip=[
            alt.Tooltip("study:N", title="study"),
            alt.Tooltip("field:N", title="field"),
            alt.Tooltip("label:N", title="rank correlation"),
            alt.Tooltip("n:Q", title="trials"),
        ],
    )
    tiles = base.mark_rect(color=BLUE, stroke=INK, strokeOpacity=0.2).encode(
        opacity=alt.Opacity(
            "strength:Q", scale=alt.Scale(domain=[0, 1], range=[0.02, 0.6]), legend=None
        )
    )
    labels = base.mark_text(color=INK, fontSize=12).encode(text=alt.Text("label:N"))
    chart: altair.TopLevelMixin = alt.layer(tiles, labels).properties(
        width="container", height=_STEP * len({cell["study"] for cell in cells})
    )
    return chart
